//! TCP by smoltcp.
