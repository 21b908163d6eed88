//! Closed and open loop load with honest latencies and verified counts.
