//! What a server says it is doing.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kift_core::session::Failure;
use kift_core::wire::{Request, Timestamp};

use super::{Client, ClientError, Sink};

/// Bytes of the longest text that is taken.
const STATUS_LEN_MAX: usize = 16 << 20;

/// What came so far.
#[derive(Debug, Default, Clone)]
struct Text(Arc<Mutex<Vec<u8>>>);

impl Text {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Text {
    fn begin(&mut self, _size: u64, _modified: Option<Timestamp>) {}

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        let mut text = self.bytes();
        if text.len() + data.len() > STATUS_LEN_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        text.extend_from_slice(data);
        Ok(())
    }

    fn commit(&mut self) -> io::Result<u32> {
        Ok(0)
    }

    fn restart(&mut self) -> io::Result<()> {
        self.bytes().clear();
        Ok(())
    }
}

impl Client {
    /// What the server is doing: a JSON object a line, of which this end need not know all keys.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn status(&mut self) -> Result<Result<String, Failure>, ClientError> {
        self.text(&Request::Status)
    }

    /// The user's uploads that were interrupted and can go on, in the same form.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn partials(&mut self) -> Result<Result<String, Failure>, ClientError> {
        self.text(&Request::Partials)
    }

    fn text(&mut self, request: &Request<'_>) -> Result<Result<String, Failure>, ClientError> {
        let text = Text::default();
        let id = match self.request(request)? {
            Ok(id) => id,
            Err(code) => return Ok(Err(Failure::Local(code))),
        };
        self.desk.set_sink(id, Box::new(text.clone()));
        let Some(done) = self.next_done()? else { return Err(self.how_it_ended()) };
        Ok(done.result.map(|_| String::from_utf8_lossy(&text.bytes()).into_owned()))
    }
}
