//! What is said to whoever debugs a device. Without the features `log` and `defmt` it is nothing, and
//! takes nothing.
//!
//! | level | says |
//! | --- | --- |
//! | debug | that a request begins, and that it was done |
//! | info | that a link is open, and that a session ended by its goodbye |
//! | warn | what was refused, what failed, why a session ended otherwise |
//!
//! With both features both get every line. Requests go by their numbers and verbs, peers by their
//! public keys. What is secret is never said, nor what a file is called or holds.

macro_rules! emit {
    ($level:ident, $text:literal $(, $argument:expr)*) => {{
        #[cfg(feature = "log")]
        log::$level!($text $(, $argument)*);
        // Elsewhere nobody links what it writes to. Clippy looks at it all the same, and links nothing.
        #[cfg(all(feature = "defmt", any(target_os = "none", clippy)))]
        defmt::$level!($text $(, defmt::Display2Format(&$argument))*);
        // Used in any case, and never called.
        let _ = || { $(let _ = &$argument;)* };
    }};
}

macro_rules! debug {
    ($($what:tt)*) => { $crate::trace::emit!(debug, $($what)*) };
}

macro_rules! info {
    ($($what:tt)*) => { $crate::trace::emit!(info, $($what)*) };
}

macro_rules! warning {
    ($($what:tt)*) => { $crate::trace::emit!(warn, $($what)*) };
}

pub(crate) use {debug, emit, info, warning};
