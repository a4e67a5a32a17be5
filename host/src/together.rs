//! Small files that are made durable together.

use std::thread;
use std::time::{Duration, Instant};

/// Bytes of a file that is small.
pub(crate) const SMALL_MAX: u64 = 256 << 10;

/// What takes no longer than this is not worth a thread.
const QUICK: Duration = Duration::from_micros(100);

/// A thread's stack: it makes a few system calls.
const STACK_LEN: usize = 128 << 10;

/// Does `work` for each of `items`: for the first here, and unless that was quick for the rest by a thread
/// each, so that a file system writes down for all of them what it would for one. What finds no thread
/// is left.
pub(crate) fn each<'a, T: Send + 'a>(
    mut items: impl Iterator<Item = &'a mut T>,
    work: impl Fn(&mut T) + Sync,
) {
    let began = Instant::now();
    if let Some(first) = items.next() {
        work(first);
    }
    if began.elapsed() < QUICK {
        return items.for_each(work);
    }
    thread::scope(|scope| {
        for item in items {
            let thread = thread::Builder::new().name("kift commit".to_owned());
            let work = &work;
            let _ = thread.stack_size(STACK_LEN).spawn_scoped(scope, move || work(item));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_turn_quick_or_not() {
        for pause in [Duration::ZERO, Duration::from_millis(1)] {
            let mut numbers: Vec<u32> = (0..20).collect();
            each(numbers.iter_mut(), |number| {
                thread::sleep(pause);
                *number += 1;
            });
            assert_eq!(numbers, (1..21).collect::<Vec<_>>());
            each([].iter_mut(), |number: &mut u32| *number += 1);
        }
    }
}
