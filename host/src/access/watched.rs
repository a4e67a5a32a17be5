//! A file that a running server reads again when it changes.

use std::time::SystemTime;

use anyhow::Result;
use tracing::{error, info};

use crate::state::{Stamp, State};

/// The stamp of a file as it was read, or none of an absent one. Unknown where the file may have
/// changed since and have the same stamp.
type Seen = Option<Option<Stamp>>;

/// What stands in a file, as far as it could be understood.
#[derive(Debug)]
pub(super) struct Watched<T> {
    file: &'static str,
    parse: fn(&str, &State) -> Result<T>,
    pub(super) value: T,
    seen: Seen,
    /// What was last wrong with it, while that lasts.
    complaint: Option<String>,
}

/// Seconds within which a file may change twice and look the same.
const SETTLED_S: i64 = 2;

impl<T> Watched<T> {
    /// Reads the file.
    ///
    /// # Errors
    /// It is loose, damaged, or cannot be read. An absent one is an empty one.
    pub(super) fn open(
        file: &'static str,
        parse: fn(&str, &State) -> Result<T>,
        state: &State,
    ) -> Result<Self> {
        let (value, seen) = read(file, parse, state)?;
        Ok(Self { file, parse, value, seen, complaint: None })
    }

    /// Reads the file again, if it changed. Where it cannot be understood any more, what was
    /// understood last stays: a slip of somebody's editor locks nobody out and lets nobody in.
    pub(super) fn refresh(&mut self, state: &State) {
        match self.changed(state) {
            Ok(None) => {}
            Ok(Some((value, seen))) => {
                (self.value, self.seen) = (value, seen);
                if self.complaint.take().is_some() {
                    info!(file = self.file, "the file is in order again, and counts from now on");
                }
            }
            Err(error) => {
                let complaint = format!("{error:#}");
                if self.complaint.as_ref() != Some(&complaint) {
                    error!("{complaint}; until it is in order, what it was before counts");
                    self.complaint = Some(complaint);
                }
            }
        }
    }

    fn changed(&self, state: &State) -> Result<Option<(T, Seen)>> {
        if self.seen == Some(state.stamp(self.file)?) {
            return Ok(None);
        }
        read(self.file, self.parse, state).map(Some)
    }
}

fn read<T>(file: &str, parse: fn(&str, &State) -> Result<T>, state: &State) -> Result<(T, Seen)> {
    let Some((text, stamp)) = state.read_stamped(file)? else {
        return Ok((parse("", state)?, Some(None)));
    };
    let seen = seen(stamp, SystemTime::now());
    Ok((parse(&text, state)?, seen))
}

/// How a file counts as seen that had `stamp` when it was read, at the time `now`.
fn seen(stamp: Stamp, now: SystemTime) -> Seen {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now_s = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    (stamp.changed_s().saturating_add(SETTLED_S) <= now_s).then_some(Some(stamp))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_stamp_says_nothing_while_the_file_is_new() {
        let place = tempfile::tempdir().unwrap();
        let state = State::open(Some(place.path())).unwrap();
        state.replace("a", "").unwrap();
        let stamp = state.stamp("a").unwrap().unwrap();
        let changed = Duration::from_secs(stamp.changed_s().unsigned_abs());
        let after = |s| SystemTime::UNIX_EPOCH + changed + Duration::from_secs(s);
        assert_eq!([0, 1].map(|s| seen(stamp, after(s))), [None; 2]);
        assert_eq!([2, 3].map(|s| seen(stamp, after(s))), [Some(Some(stamp)); 2]);
        // A clock that was set back.
        assert_eq!(seen(stamp, SystemTime::UNIX_EPOCH), None);
    }
}
