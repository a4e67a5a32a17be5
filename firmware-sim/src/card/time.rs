//! Times as FAT has them: a date from 1980 to 2107 and a time of day, without a zone, which is taken
//! for UTC.

use kift_core::wire::Timestamp;

const DAY: i64 = 24 * 3600;

/// A date, a time to two seconds, and what is missing of that in units of 10 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FatTime {
    pub date: u16,
    pub time: u16,
    pub rest: u8,
}

impl FatTime {
    /// What stands for a time that is not known.
    pub(super) const UNKNOWN: Self = Self { date: 0, time: 0, rest: 0 };

    /// A time that FAT has a date for.
    pub(super) fn new(at: Timestamp) -> Option<Self> {
        let (seconds, nanos) = (at.0.div_euclid(1_000_000_000), at.0.rem_euclid(1_000_000_000));
        let (days, second) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
        let (year, month, day) = civil(days);
        if !(1980..=2107).contains(&year) {
            return None;
        }
        Some(Self {
            date: (((year - 1980) << 9) | (month << 5) | day) as u16,
            time: (((second / 3600) << 11) | ((second / 60 % 60) << 5) | (second % 60 / 2)) as u16,
            rest: (second % 2 * 100 + nanos / 10_000_000) as u8,
        })
    }

    /// The time, if it is one.
    pub(super) fn timestamp(self) -> Option<Timestamp> {
        let [date, time] = [i64::from(self.date), i64::from(self.time)];
        let (year, month, day) = ((date >> 9) + 1980, (date >> 5) & 15, date & 31);
        if !(1..=12).contains(&month) || day == 0 {
            return None;
        }
        let second = (time >> 11) * 3600 + ((time >> 5) & 63) * 60 + (time & 31) * 2;
        let rest = i64::from(self.rest) * 10_000_000;
        Some(Timestamp((days(year, month, day) * DAY + second) * 1_000_000_000 + rest))
    }
}

/// Days since 1970-01-01 of a date. The year is thought to begin in March, so that its length is of
/// no matter to the months.
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + of_year - 719_468
}

/// The date of so many days since 1970-01-01, after the year 0.
fn civil(since: i64) -> (i64, i64, i64) {
    // Off by one year at most.
    let mut year = 1970 + since.div_euclid(366);
    while days(year + 1, 1, 1) <= since {
        year += 1;
    }
    let mut month = 1;
    while month < 12 && days(year, month + 1, 1) <= since {
        month += 1;
    }
    (year, month, since - days(year, month, 1) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_is_itself() {
        for since in days(1980, 1, 1)..=days(2107, 12, 31) {
            let at = Timestamp((since * DAY + since % DAY) * 1_000_000_000 + 990_000_000);
            assert_eq!(FatTime::new(at).and_then(FatTime::timestamp), Some(at), "day {since}");
        }
        assert_eq!(FatTime::new(Timestamp(0)), None);
        assert_eq!(FatTime::new(Timestamp(i64::MAX)), None);
        assert_eq!(FatTime::new(Timestamp(i64::MIN)), None);
        assert_eq!(FatTime::UNKNOWN.timestamp(), None);
        // 2024-02-29 12:34:57.
        let leap = FatTime::new(Timestamp(1_709_210_097_000_000_000));
        let (date, time) = ((44 << 9) | (2 << 5) | 29, (12 << 11) | (34 << 5) | 28);
        assert_eq!(leap, Some(FatTime { date, time, rest: 100 }));
    }
}
