mod formats;
mod locks;
mod shipping;
mod support;
