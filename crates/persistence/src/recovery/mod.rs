pub mod asynchronous;
pub mod sync;
