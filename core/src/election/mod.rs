//! Who leads: the lease logic as a state machine without I/O, clock or randomness.
