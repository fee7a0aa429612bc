//! Bridged sessions: a TAP device for each, put into a Linux bridge.
//!
//! Makes no bridge and changes none: the operator's has the address, the VLANs and the spanning
//! tree that it has. What a TAP's frames do is the kernel's business.

use std::time::Duration;

use dataplane::api::Tap;

use crate::kernel::Kernel;
use crate::plane::Plane;

/// The longest name of a device, octets.
pub const MAX_NAME: usize = 15;
/// How often a device is tried to be made again, and how long is waited before.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(100);
/// The MTU of TAP devices. A smaller one would become the bridge's, and all its ports'; longer
/// frames than a tunnel takes are dropped there and said in the log.
const MTU: u16 = 1500;

/// Makes a TAP device of this name and puts it into the bridge.
///
/// # Errors
/// In the operator's words: the name is taken, there is no such bridge, or it is none.
pub async fn attach(
    plane: &Plane,
    kernel: &Kernel,
    name: String,
    bridge: &str,
) -> Result<Tap, String> {
    let mut tries = 0;
    let tap = loop {
        let (handle, name) = (plane.handle().clone(), name.clone());
        let made = tokio::task::spawn_blocking(move || handle.tap(&name, MTU)).await;
        match made.map_err(|error| error.to_string())? {
            Ok(tap) => break tap,
            Err(error) if tries == TRIES => return Err(error.to_string()),
            // The device of the last call goes with its worker's next turn.
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
        tries += 1;
    };
    let mut address = [0; 6];
    getrandom::fill(&mut address).map_err(|error| error.to_string())?;
    // A bridge without an address of its own takes its ports' lowest: never one that comes and goes.
    address[0] = 0xFE;
    let attached = kernel.attach(tap.name(), bridge, address).await;
    attached.map_err(|error| format!("bridge `{bridge}`: {error}"))?;
    Ok(tap)
}
