//! What a request is answered with.

use crate::wire::Request;
#[cfg(feature = "host")]
use crate::wire::{Ask, Run};

/// What an open request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    Done,
    Stat,
    /// A stat with its digest.
    Hash,
    Listed,
    Space,
    Stored,
    Sending {
        first: u32,
        count: Option<u32>,
    },
    /// The rest of a file behind so many chunks, once these were compared.
    Resumed {
        first: u32,
    },
    Goodbye,
    #[cfg(feature = "host")]
    Ticket,
    /// An upload in runs may begin; with `hashes`, once a file was compared.
    #[cfg(feature = "host")]
    Begun {
        hashes: bool,
    },
    #[cfg(feature = "host")]
    Run(Run),
}

impl Expect {
    /// What `request` is answered with.
    pub(super) fn of(request: &Request<'_>) -> Self {
        match *request {
            Request::Stat { digest: false, .. } => Self::Stat,
            Request::Stat { digest: true, .. } => Self::Hash,
            Request::List { .. } => Self::Listed,
            Request::Put(_) => Self::Stored,
            Request::Get { first, count, .. } => Self::Sending { first, count },
            Request::Resume { first, .. } => Self::Resumed { first },
            Request::Delete { .. }
            | Request::Rename { .. }
            | Request::MakeDirectory { .. }
            | Request::Login { .. } => Self::Done,
            Request::Space => Self::Space,
            Request::Goodbye => Self::Goodbye,
            #[cfg(feature = "host")]
            Request::Status | Request::Partials => Self::Sending { first: 0, count: None },
            #[cfg(feature = "host")]
            Request::Shutdown
            | Request::Attach { .. }
            | Request::Release { .. }
            | Request::Discard { .. } => Self::Done,
            #[cfg(feature = "host")]
            Request::Ticket => Self::Ticket,
            #[cfg(feature = "host")]
            Request::BeginPut { put, .. } => {
                Self::Begun { hashes: matches!(put.ask, Ask::Digest(_)) }
            }
            #[cfg(feature = "host")]
            Request::PutRun { .. } | Request::Commit { .. } => Self::Stored,
            #[cfg(feature = "host")]
            Request::BeginGet { .. } => Self::Stat,
            #[cfg(feature = "host")]
            Request::GetRun { run, .. } => Self::Run(run),
        }
    }

    /// Whether the responder may block while it answers: by data, by pages, or by reports on a
    /// hash that takes as long as it takes.
    pub(super) fn is_stream(self) -> bool {
        #[cfg(feature = "host")]
        if let Self::Begun { hashes: true } = self {
            return true;
        }
        self.is_get() || matches!(self, Self::Listed | Self::Hash)
    }

    /// Whether it is a stream that gets a receipt.
    pub(super) fn is_get(self) -> bool {
        #[cfg(feature = "host")]
        if let Self::Run(_) = self {
            return true;
        }
        matches!(self, Self::Sending { .. } | Self::Resumed { .. })
    }
}
