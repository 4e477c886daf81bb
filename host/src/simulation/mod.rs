//! The settlement without a broker, a sandbox or a device: thousands of schedules of faults in seconds. What it tests is
//! the real `pipeline`, `hold`, `gate`, `transport::settle`, `transport::grace`, `trial`; everything around them is a fake.

mod fakes;
mod schedule;
mod script;
mod world;
