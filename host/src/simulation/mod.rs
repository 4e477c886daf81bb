//! The settlement without a broker, a sandbox or a device: thousands of schedules of faults in seconds. It tests the real
//! `pipeline`, `hold`, `isolation`, `settle`, `redelivery_grace` and `trial`; everything around them is a fake.

mod ack;
mod fakes;
mod output;
mod runs;
mod schedule;
mod script;
mod world;
