//! The protocol by which nodes learn of revocations, model-checked: every order in which its steps can happen is tried,
//! within small bounds, and the shipped index and freshness do the deciding.

mod holds;
mod limits;
mod model;
mod mutants;
mod properties;
