//! Where somebody may come from: an address, or a block of them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use anyhow::{Context as _, Error, Result, bail};

/// The addresses whose first bits are given. An IPv4 address that is written as an IPv6 one is
/// the IPv4 address: a listener on `[::]` sees IPv4 clients so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether `address` is one of them.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(_), address @ IpAddr::V4(_)) | (IpAddr::V6(_), address @ IpAddr::V6(_)) => {
                masked(address, self.bits) == self.first
            }
            _ => false,
        }
    }
}

/// `address` with nothing behind its first `bits` bits.
pub(super) fn masked(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

const fn bits_max(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl FromStr for Network {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let written: IpAddr =
            address.parse().with_context(|| format!("{address:?} is no IP address"))?;
        let bits_max = bits_max(written);
        let bits = match bits.map(str::parse::<u8>) {
            None => bits_max,
            Some(Ok(bits)) if bits <= bits_max => bits,
            Some(_) => bail!("{text:?}: behind the slash belongs a number up to {bits_max}"),
        };
        let (address, bits) = match (written.to_canonical(), bits.checked_sub(96)) {
            (v4 @ IpAddr::V4(_), Some(bits)) if written.is_ipv6() => (v4, bits),
            _ => (written, bits),
        };
        Ok(Self { first: masked(address, bits), bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.first, f)?;
        if self.bits == bits_max(self.first) { Ok(()) } else { write!(f, "/{}", self.bits) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(network: &str, address: &str) -> bool {
        network.parse::<Network>().unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn addresses_fit_by_their_first_bits() {
        assert!(fits("192.0.2.7", "192.0.2.7"));
        assert!(!fits("192.0.2.7", "192.0.2.6"));
        assert!(fits("192.0.2.64/26", "192.0.2.127"));
        assert!(!fits("192.0.2.64/26", "192.0.2.128"));
        assert!(fits("0.0.0.0/0", "203.0.113.9"));
        assert!(fits("2001:db8::/32", "2001:db8:ffff::1"));
        assert!(!fits("2001:db8::/32", "2001:db9::1"));
        assert!(fits("::/0", "2001:db8::1"));
        assert!(!fits("::1", "::2"));
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        assert!(fits("192.0.2.0/24", "::ffff:192.0.2.9"));
        assert!(fits("::ffff:192.0.2.0/120", "192.0.2.9"));
        assert!(!fits("::ffff:192.0.2.0/120", "192.0.3.9"));
        assert!(fits("::ffff:192.0.2.1", "192.0.2.1"));
        // All of IPv6 is none of IPv4, and the other way round.
        assert!(!fits("::/0", "::ffff:192.0.2.9"));
        assert!(!fits("::/0", "192.0.2.9"));
        assert!(!fits("0.0.0.0/0", "2001:db8::1"));
    }

    #[test]
    fn texts() {
        for (text, shown) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.1.2.3/32", "10.1.2.3"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("::ffff:10.0.0.1/128", "10.0.0.1"),
        ] {
            let network: Network = text.parse().unwrap();
            assert_eq!(network.to_string(), shown);
            assert_eq!(shown.parse::<Network>().unwrap(), network);
        }
        for text in ["", "10.0.0", "10.0.0.0/33", "::/129", "::/-1", "::/", "10.0.0.0/8/8", "host"]
        {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
