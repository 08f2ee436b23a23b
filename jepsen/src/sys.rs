//! The two kernel calls that no library wraps, each with its contract. Nothing else here may be unsafe.
#![expect(
    unsafe_code,
    reason = "the kernel reads and writes through a pointer that only we can vouch for"
)]

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::ioctl::{Setter, Updater, ioctl};

/// `TUNSETIFF`, `_IOW('T', 202, int)` of `linux/if_tun.h`; the kernel takes a `struct ifreq` nevertheless.
const TUNSETIFF: u32 = 0x4004_54ca;
/// `IFF_TAP | IFF_NO_PI`: whole Ethernet frames and nothing before them.
const TAP_WITHOUT_HEADER: u16 = 0x0002 | 0x1000;
/// `EXT4_IOC_SHUTDOWN` and `XFS_IOC_GOINGDOWN` are one number, `_IOR('X', 125, __u32)`.
const SHUTDOWN: u32 = 0x8004_587d;
/// `EXT4_GOING_FLAGS_NOLOGFLUSH` and `XFS_FSOP_GOING_FLAGS_NOLOGFLUSH`.
const WITHOUT_FLUSHING_THE_LOG: u32 = 2;

/// `struct ifreq` as `TUNSETIFF` uses it: a name that ends with zero, flags, and room for the rest of the union.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// A new TAP interface in the network namespace of the calling thread. It lives as long as the descriptor,
/// which does not block.
///
/// # Errors
/// The name is longer than 15 bytes or taken, there is no `/dev/net/tun`, or the caller is not root.
pub fn open_tap(name: &str) -> io::Result<OwnedFd> {
    let mut request = InterfaceRequest {
        name: [0; 16],
        flags: TAP_WITHOUT_HEADER,
        rest: [0; 22],
    };
    if name.len() >= request.name.len() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let device = rustix::fs::open("/dev/net/tun", flags, Mode::empty())?;
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq` (40 bytes on 64-bit Linux) at the pointer.
    // `InterfaceRequest` is that: `repr(C)`, 16 + 2 + 22 bytes, every bit pattern of it is valid, and it
    // is borrowed exclusively for the whole call.
    unsafe { ioctl(&device, Updater::<TUNSETIFF, _>::new(&mut request)) }?;
    Ok(device)
}

/// Ends the file system that holds `file` as a power cut does: what was not synced is gone, the log is
/// not flushed, and every later access fails with EIO until it is mounted anew.
///
/// # Errors
/// The file system is neither ext4 nor XFS, or the caller is not root.
pub fn shut_down_filesystem(file: &File) -> io::Result<()> {
    // SAFETY: both calls read one `__u32` at the pointer and keep nothing of it; `Setter` passes a
    // pointer to the `u32` that it owns.
    unsafe { ioctl(file, Setter::<SHUTDOWN, u32>::new(WITHOUT_FLUSHING_THE_LOG)) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_has_the_size_that_the_kernel_copies() {
        assert_eq!(size_of::<InterfaceRequest>(), 40);
    }
}
