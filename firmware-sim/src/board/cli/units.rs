//! Sizes, times and shares, as people write them.

use std::time::Duration;

const SIZE: &str = "a size is a number with k, M or G, as 64k";
const TIME: &str = "a time is a number with us, ms, s, min or h, as 50ms";
const RATE: &str = "a bandwidth is bits a second with k, M or G, as 10M";
const SHARE: &str = "a share is at least 0 % and below 100 %, as 1% or 0.01";

/// `64k`, `4M`, `512`: bytes, by powers of 1024.
pub(super) fn size(text: &str) -> Result<u64, &'static str> {
    let (number, unit) = split(text);
    let shift = match unit.strip_suffix("iB").unwrap_or(unit) {
        "" | "B" => 0,
        "k" | "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return Err(SIZE),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift)).ok_or(SIZE)
}

/// A size of which a device has at most 4 GiB.
pub(super) fn small_size(text: &str) -> Result<u32, &'static str> {
    u32::try_from(size(text)?).map_err(|_| "less than 4 GiB is meant")
}

/// `50ms`, `700us`, `2s`, `5min`; `0` needs no unit.
pub(super) fn time(text: &str) -> Result<Duration, &'static str> {
    let (number, unit) = split(text);
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "min" => 60.0,
        "h" => 3600.0,
        "" if number == "0" => 1.0,
        _ => return Err(TIME),
    };
    number
        .parse::<f64>()
        .ok()
        .and_then(|number| Duration::try_from_secs_f64(number * seconds).ok())
        .ok_or(TIME)
}

/// `10M`, `10Mbit`, `1G`, `9600`: bits a second, by powers of 1000.
pub(super) fn rate(text: &str) -> Result<u64, &'static str> {
    let (number, unit) = split(text);
    let unit = unit.strip_suffix("bit").unwrap_or(unit);
    let factor = match unit {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        _ => return Err(RATE),
    };
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)) {
        Some(rate) if rate > 0 => Ok(rate),
        _ => Err(RATE),
    }
}

/// `1%` or `0.01`: the share itself.
pub(super) fn share(text: &str) -> Result<f64, &'static str> {
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().map(|percent| percent / 100.0),
        None => text.parse(),
    };
    match share {
        Ok(share) if (0.0..1.0).contains(&share) => Ok(share),
        _ => Err(SHARE),
    }
}

fn split(text: &str) -> (&str, &str) {
    let is_unit = |c: char| !c.is_ascii_digit() && c != '.';
    let (number, unit) = text.split_at(text.find(is_unit).unwrap_or(text.len()));
    (number, unit.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size("64k"), Ok(65536));
        assert_eq!(size("4M"), Ok(4 << 20));
        assert_eq!(size("1 GiB"), Ok(1 << 30));
        assert_eq!(size("17"), Ok(17));
        for wrong in ["", "k", "-1", "1.5M", "1x", "99999999999999G"] {
            assert!(size(wrong).is_err(), "{wrong:?}");
        }
        assert!(small_size("4G").is_err());
    }

    #[test]
    fn times() {
        assert_eq!(time("50ms"), Ok(Duration::from_millis(50)));
        assert_eq!(time("700us"), Ok(Duration::from_micros(700)));
        assert_eq!(time("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(time("0"), Ok(Duration::ZERO));
        for wrong in ["", "5", "ms", "-1s", "1d"] {
            assert!(time(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn rates_and_shares() {
        assert_eq!(rate("10M"), Ok(10_000_000));
        assert_eq!(rate("100kbit"), Ok(100_000));
        assert!(rate("0").is_err() && rate("fast").is_err());
        assert_eq!(share("5%"), Ok(0.05));
        assert_eq!(share("0.5"), Ok(0.5));
        assert!(share("100%").is_err() && share("-1%").is_err() && share("x").is_err());
    }
}
