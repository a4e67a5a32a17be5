//! The devices that can be chosen: how large their buffers are and how many sessions they hold.

use std::mem::size_of;
use std::vec::Vec;

use anyhow::{Result, bail};

use super::chip::Chip;
use super::life::{self, Account, World};
use super::plug::Plug;
use crate::device;
use crate::device::seal::AnyLinks;
use crate::flash::Store;

/// How often a device may boot in one run: once more where the power was cut.
pub(super) const LIVES: usize = 2;

type Memory<const SESSIONS: usize, const SOCKETS: usize, const SLOTS: usize, const BUFFER: usize> =
    device::Memory<Plug, Store<Chip, SESSIONS>, AnyLinks, SESSIONS, SOCKETS, SLOTS, BUFFER>;

/// A device.
#[derive(Debug, Clone, Copy)]
pub(in crate::board) struct Machine {
    /// Bytes of each of a connection's two buffers.
    pub(super) buffer: usize,
    pub(super) sessions: usize,
    /// Bytes of everything that it owns.
    pub(super) ram: usize,
    /// Boots and works, until it is done or the power is cut. Each life has a RAM of its own, since
    /// nothing in it survives.
    pub(super) live: fn(usize, &World) -> Result<Account>,
}

macro_rules! machines {
    ($($buffer:literal, $sessions:literal, at most $ram:literal KiB;)*) => {
        /// All of them.
        pub(super) const MACHINES: &[Machine] = &[$({
            type Ram = Memory<$sessions, { $sessions + 1 }, { $sessions + 2 }, $buffer>;
            const _: () = assert!(size_of::<Ram>() <= $ram * 1024);
            fn live(number: usize, world: &World) -> Result<Account> {
                static RAM: [Ram; LIVES] = [const { Ram::new() }; LIVES];
                match RAM.get(number) {
                    Some(memory) => life::live(memory, world),
                    None => bail!("this device has no life left"),
                }
            }
            Machine { buffer: $buffer, sessions: $sessions, ram: size_of::<Ram>(), live }
        }),*];
    };
}

// Together with the host's programs the core is built for hosts, whose sessions are larger.
machines! {
    1024, 1, at most 23 KiB;
    1024, 2, at most 31 KiB;
    2048, 1, at most 27 KiB;
    2048, 2, at most 37 KiB;
    4096, 1, at most 35 KiB;
    4096, 2, at most 49 KiB;
    8192, 1, at most 51 KiB;
    8192, 2, at most 73 KiB;
}

/// The machine with these buffers and sessions, if it fits `ram` bytes.
pub(in crate::board) fn choose(buffer: u64, sessions: usize, ram: u64) -> Result<&'static Machine> {
    let is_meant = |m: &&Machine| m.buffer as u64 == buffer && m.sessions == sessions;
    let Some(machine) = MACHINES.iter().find(is_meant) else {
        bail!("there are devices with --buffers 1k, 2k, 4k or 8k and --sessions 1 or 2");
    };
    let fits = |m: &&Machine| m.ram as u64 <= ram;
    if !fits(&machine) {
        let choices: Vec<_> = MACHINES
            .iter()
            .filter(fits)
            .map(|m| std::format!("--buffers {}k --sessions {}", m.buffer / 1024, m.sessions))
            .collect();
        let advice = if choices.is_empty() {
            "no device is that small".into()
        } else {
            std::format!("these fit: {}", choices.join(", "))
        };
        bail!(
            "--buffers {}k --sessions {sessions} takes {} bytes of RAM, and --ram gives {ram}; {advice}",
            buffer / 1024,
            machine.ram
        );
    }
    Ok(machine)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString as _;

    #[test]
    fn a_device_that_does_not_fit_is_refused_with_what_does() {
        assert!(choose(4096, 1, 64 * 1024).is_ok());
        let refused = choose(8192, 2, 64 * 1024).unwrap_err().to_string();
        assert!(refused.contains("--buffers 8k --sessions 2 takes "), "{refused}");
        assert!(refused.contains("--buffers 4k --sessions 1"), "{refused}");
        assert!(choose(4096, 1, 100).unwrap_err().to_string().ends_with("no device is that small"));
        assert!(choose(3000, 1, 64 * 1024).is_err() && choose(4096, 3, 64 * 1024).is_err());
    }
}
