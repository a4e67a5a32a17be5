//! The system's errors as reasons for the peer.

use kift_core::wire::Code;
use rustix::io::Errno;

/// The one place that says what the peer is told of a failed system call.
pub(super) fn reason(errno: Errno) -> Code {
    match errno {
        Errno::NOENT => Code::NotFound,
        Errno::EXIST => Code::Exists,
        Errno::ISDIR => Code::IsDirectory,
        Errno::NOTDIR => Code::NotDirectory,
        Errno::NOTEMPTY => Code::NotEmpty,
        // Links are never followed, so that meeting one is no loop.
        Errno::LOOP => Code::NotRegular,
        // A device without a driver, or a socket.
        Errno::NXIO | Errno::NODEV => Code::NotRegular,
        // A directory moved into itself, or a name that this file system does not take.
        Errno::INVAL | Errno::ILSEQ => Code::BadName,
        Errno::NAMETOOLONG => Code::NameTooLong,
        // Another file system is mounted there: outside what is served.
        Errno::XDEV | Errno::ACCESS | Errno::PERM => Code::Denied,
        Errno::ROFS => Code::ReadOnly,
        Errno::NOSPC | Errno::DQUOT => Code::NoSpace,
        Errno::FBIG | Errno::OVERFLOW => Code::TooLarge,
        Errno::AGAIN | Errno::BUSY | Errno::TXTBSY => Code::Busy,
        Errno::MFILE | Errno::NFILE | Errno::MLINK => Code::TooMany,
        _ => Code::Io,
    }
}
