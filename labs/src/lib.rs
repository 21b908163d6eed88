//! The lab engine: the learner rebuilds one part of the living system, and the part serves in it minutes later.

pub mod gate;

pub mod progress;
