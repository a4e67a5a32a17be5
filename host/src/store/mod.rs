//! Where a server keeps its files.
