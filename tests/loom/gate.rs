//! Models of the gate.
