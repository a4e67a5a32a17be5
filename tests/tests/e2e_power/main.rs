//! The power of a host goes: whatever its disk had not been told to keep may be lost, in whole or in
//! part. Real programs work on a disk that notes what is done. Then the power is cut at every moment of that,
//! and real programs go on with what is left. The disk may fail or be full as well.

mod client;
mod failing;
mod promises;
mod server;
mod session;

use kift_tests::disk::{Disk, Luck, Wreck, why_no_mount};
use kift_tests::machine::skip;
use kift_tests::rng::Case;

/// What a power cut showed that must not be.
#[derive(Debug, Default)]
struct Found {
    complaints: Vec<String>,
    trials: usize,
}

fn can_mount(test: &str) -> bool {
    why_no_mount().is_none_or(|why| skip(test, why))
}

/// Cuts the power after every operation of `disk` since it `begun`, with the worst luck, the best, and
/// some `others` each, and asks what is wrong then.
fn cut_everywhere(
    disk: &Disk,
    begun: usize,
    others: u64,
    mut complaint: impl FnMut(usize, Luck, &Wreck) -> Option<String>,
) -> Found {
    let mut found = Found::default();
    for cut in begun..=disk.operations() {
        let other = |number| Luck::Any(number << 32 | cut as u64);
        for luck in [Luck::Bad, Luck::Good].into_iter().chain((0..others).map(other)) {
            let _case = Case(format!("the power goes after {cut} operations, {luck:?}"));
            found.trials += 1;
            let complaint = complaint(cut, luck, &disk.cut(cut, luck));
            let told = |complaint| format!("{cut} of {}, {luck:?}: {complaint}", disk.operations());
            found.complaints.extend(complaint.map(told));
        }
    }
    found
}

impl Found {
    #[track_caller]
    fn assert_nothing(&self) {
        let Self { complaints, trials } = self;
        let (some, count) = (&complaints[..complaints.len().min(20)], complaints.len());
        assert!(complaints.is_empty(), "{count} of {trials}:\n{}", some.join("\n"));
        assert!(*trials > 20, "{trials}");
        eprintln!("{trials} power cuts");
    }

    #[track_caller]
    fn assert_something(&self) {
        assert!(!self.complaints.is_empty(), "of {} power cuts none did any harm", self.trials);
    }
}
