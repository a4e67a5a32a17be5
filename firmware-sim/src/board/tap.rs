//! Linux's end of a wire: a TAP interface.

use std::format;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, read, write};
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketType, socket};

use super::sys;
use crate::net::Frames;

/// A TAP interface: what the kernel sends on it is received here, and the other way.
#[derive(Debug)]
pub struct Tap(OwnedFd);

impl Tap {
    /// Opens the interface `name`, which somebody has made for this user.
    ///
    /// # Errors
    /// What is missing.
    pub fn open(name: &str) -> io::Result<Self> {
        let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
        name_to_index(socket, name).map_err(|errno| {
            explain(errno, &format!("{name} is not there: make it with ip tuntap, or use --netns"))
        })?;
        Self::make(name)
    }

    /// Opens the interface `name`, and makes it, until it is dropped, where it is not there.
    pub(super) fn make(name: &str) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let tun = open("/dev/net/tun", flags, Mode::empty()).map_err(|errno| match errno {
            Errno::NOENT | Errno::NODEV | Errno::NXIO => explain(
                errno,
                "/dev/net/tun is not there: load the kernel's module tun, or give it to the container",
            ),
            Errno::ACCESS | Errno::PERM => explain(
                errno,
                "/dev/net/tun may not be opened: run as root, or make it 0666 and allow user namespaces",
            ),
            _ => explain(errno, "/dev/net/tun"),
        })?;
        sys::attach_tap(&tun, name).map_err(|error| {
            let what = match Errno::from_io_error(&error) {
                Some(Errno::PERM) => "was not made for this user (ip tuntap add … user NAME)",
                Some(Errno::BUSY) => "is in use by another program",
                Some(Errno::INVAL) => "is there, and is no TAP interface",
                _ => return io::Error::new(error.kind(), format!("{name}: {error}")),
            };
            io::Error::new(error.kind(), format!("{name} {what}"))
        })?;
        Ok(Self(tun))
    }
}

fn explain(errno: Errno, what: &str) -> io::Error {
    io::Error::new(errno.kind(), format!("{what} ({errno})"))
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Frames for Tap {
    fn receive(&mut self, buf: &mut [u8]) -> Option<usize> {
        read(&self.0, buf).ok()
    }

    fn send(&mut self, frame: &[u8]) -> bool {
        write(&self.0, frame).is_ok()
    }
}

/// Sleeps until there is something to read from `fd`, or for `timeout`.
pub fn wait(fd: impl AsFd, timeout: Option<Duration>) {
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    // Whatever ends it, the caller looks at what there is to do.
    let _ = poll(&mut [PollFd::new(&fd, PollFlags::IN)], timeout.as_ref());
}
