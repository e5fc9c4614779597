//! The clients that people use, against the example, over a stop.
