//! What the fuzz targets share: ports that hold a session to their contract, and a link to it.
//!
//! An input is read from its beginning to its end, a byte or a few at a time: see [`Script`] and
//! [`Drive`]. It ends where there is no byte left.

mod asker;
mod drive;
mod flash;
mod keeper;
mod made;
mod script;

pub use asker::Asker;
pub use drive::Drive;
pub use flash::any_image;
pub use keeper::Keeper;
pub use made::{Stream, any_code, any_frame, any_request, any_signal, contents, granted};
pub use script::Script;
