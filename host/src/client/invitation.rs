//! How a further link joins a session.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use kift_core::session::{Failure, Reply};
use kift_core::wire::{Code, Request, Ticket};

use super::{Client, ClientError, Expect, Link};
use crate::remote::Remote;

/// What another thread needs to join a session by a link of its own.
#[derive(Debug)]
pub struct Invitation {
    ticket: Ticket,
    remote: Remote,
    link: Link,
    window: u32,
    interrupted: Arc<AtomicBool>,
}

impl Client {
    /// Asks for an invitation into this session. It is good for half a minute.
    ///
    /// # Errors
    /// The end of the session.
    pub fn invite(&mut self) -> Result<Result<Invitation, Failure>, ClientError> {
        let Some(remote) = self.remote.clone() else {
            return Ok(Err(Failure::Local(Code::Unsupported)));
        };
        Ok(match self.ask(&Request::Ticket)? {
            Ok(Reply::Ticket(ticket)) => Ok(Invitation {
                ticket,
                remote,
                link: self.same_server(),
                window: self.window,
                interrupted: Arc::clone(&self.interrupted),
            }),
            Ok(_) => Err(Failure::Local(Code::Internal)),
            Err(failure) => Err(failure),
        })
    }

    /// A link to the server that this is connected to, and no other.
    pub(super) fn same_server(&self) -> Link {
        let link = self.desk.link();
        match (link, self.server()) {
            (Link::Sealed { key, .. } | Link::Pairing { key, .. }, Some(server)) => {
                Link::Sealed { key: key.clone(), server: Expect::Keys(vec![server]) }
            }
            _ => link.clone(),
        }
    }
}

impl Invitation {
    /// Another link, which may do what that may which asked, until that is gone.
    ///
    /// # Errors
    /// The outer one ends the new link; the inner one says that it may not join.
    pub fn accept(self) -> Result<Result<Client, Failure>, ClientError> {
        let mut client = Client::connect_with(&self.remote, self.link, self.window)?;
        client.interrupt_by(self.interrupted);
        let joined = client.ask(&Request::Attach { ticket: self.ticket })?;
        Ok(joined.map(|_| client))
    }
}
