//! A model of the board, on Linux.
