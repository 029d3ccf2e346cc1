mod formats;
mod shipping;
mod support;
