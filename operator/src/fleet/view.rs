//! What a controller has published (to be written).
use parking_lot::Mutex;
use std::sync::Arc;
use taffrail_controller_service::ControllerHandle;
/// V.
#[derive(Debug, Default)]
pub struct View {}
/// K.
pub async fn keep(_h: ControllerHandle, _v: Arc<Mutex<View>>, _tell: impl Fn(bool, Vec<Arc<str>>)) {}
