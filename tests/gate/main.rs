//! The gate, by its public interface alone: what one thread can tell of it.
//! What needs several is modelled in `tests/loom`.

mod asking;
mod idle;
mod waiting;
