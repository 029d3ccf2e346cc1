mod crashes;
mod faults;
mod formats;
mod locks;
mod readers;
mod shipping;
mod support;
