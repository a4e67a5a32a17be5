//! The system calls that no safe function wraps.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsFd;

use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Bytes of an interface's name, with the zero at its end.
const IFNAMSIZ: usize = 16;

/// `TUNSETIFF`, as `linux/if_tun.h` has it.
const TUNSETIFF: Opcode = opcode::write::<i32>(b'T', 202);

/// Ethernet frames rather than IP packets.
const IFF_TAP: u16 = 0x0002;

/// Nothing before them.
const IFF_NO_PI: u16 = 0x1000;

/// `struct ifreq` of `linux/if.h`, with the flags of its union.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; IFNAMSIZ],
    flags: u16,
    rest: [u8; 22],
}

/// Makes `tun`, which is `/dev/net/tun`, the TAP interface `name`.
pub(super) fn attach_tap(tun: impl AsFd, name: &str) -> io::Result<()> {
    let mut request =
        InterfaceRequest { name: [0; IFNAMSIZ], flags: IFF_TAP | IFF_NO_PI, rest: [0; 22] };
    match request.name.get_mut(..name.len()) {
        Some(field) if !name.is_empty() && name.len() < IFNAMSIZ => {
            field.copy_from_slice(name.as_bytes());
        }
        _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "a name has 1 to 15 bytes")),
    }
    // SAFETY: TUNSETIFF reads and writes a `struct ifreq`, which is at most as long as ours.
    unsafe { ioctl(tun, Updater::<TUNSETIFF, _>::new(&mut request)) }?;
    Ok(())
}

/// Leaves the namespaces of `flags` for new ones.
pub(super) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    let flags = flags & (UnshareFlags::NEWUSER | UnshareFlags::NEWNET);
    // SAFETY: only sharing file descriptors less than other threads do is unsafe, and it is not
    // among these flags.
    Ok(unsafe { unshare_unsafe(flags) }?)
}
