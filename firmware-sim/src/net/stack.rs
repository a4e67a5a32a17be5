//! The stack: its memory, its addresses, and the turns that it is given.

use core::cell::RefCell;
use core::mem::MaybeUninit;
use core::net::IpAddr;

use heapless::Vec;
use kift_core::time::Instant;
#[cfg(feature = "dhcp")]
use smoltcp::iface::SocketHandle;
use smoltcp::iface::{self, Interface, PollIngressSingleResult, PollResult, SocketStorage};
#[cfg(feature = "dhcp")]
use smoltcp::socket::dhcpv4;
#[cfg(feature = "ipv6")]
use smoltcp::wire::Ipv6Cidr;
use smoltcp::wire::{EthernetAddress, IpCidr, Ipv4Cidr};

use super::phy::{Counters, FrameMemory, Frames, Phy};
use super::sockets::{Entry, Peaks, Sockets};

/// Addresses that an interface has at most: one of each kind.
const ADDRESSES_MAX: usize = 2;

/// Frames each way in one turn, so that a flood of them leaves time for other things.
const TURN_FRAMES_MAX: usize = 32;

/// How long a DHCP server has to answer: not long, since it may have started after the device.
#[cfg(feature = "dhcp")]
const DISCOVER_TIMEOUT: smoltcp::time::Duration = smoltcp::time::Duration::from_secs(2);

/// The first of the ports that nobody listens on, as IANA divides them.
const DYNAMIC_PORT_FIRST: u16 = 49_152;

/// What a stack keeps its state in: `SOCKETS` connections with `BUFFER` bytes each way.
///
/// `SLOTS` is one more than `SOCKETS`: DHCP's, where there is that.
#[derive(Debug)]
pub struct Memory<'m, const SOCKETS: usize, const SLOTS: usize, const BUFFER: usize> {
    frames: FrameMemory,
    buffers: [[[u8; BUFFER]; 2]; SOCKETS],
    // Written at the start: as a constant it is not all zero, and would take all of this into the
    // image.
    slots: MaybeUninit<[SocketStorage<'m>; SLOTS]>,
    entries: MaybeUninit<[Entry; SOCKETS]>,
}

impl<const SOCKETS: usize, const SLOTS: usize, const BUFFER: usize>
    Memory<'_, SOCKETS, SLOTS, BUFFER>
{
    /// Fresh memory.
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(SLOTS == SOCKETS + 1 && BUFFER > 0) };
        Self {
            frames: FrameMemory::new(),
            buffers: [[[0; BUFFER]; 2]; SOCKETS],
            slots: MaybeUninit::uninit(),
            entries: MaybeUninit::uninit(),
        }
    }
}

impl<const SOCKETS: usize, const SLOTS: usize, const BUFFER: usize> Default
    for Memory<'_, SOCKETS, SLOTS, BUFFER>
{
    fn default() -> Self {
        Self::new()
    }
}

/// Where the addresses come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address {
    /// From the configuration.
    Static {
        /// The IPv4 address, and the length of its network's prefix.
        v4: Option<Ipv4Cidr>,
        /// The IPv6 address, and the length of its network's prefix.
        #[cfg(feature = "ipv6")]
        v6: Option<Ipv6Cidr>,
        /// The router to everywhere else.
        gateway: Option<IpAddr>,
    },
    /// From a DHCP server; IPv4 alone.
    #[cfg(feature = "dhcp")]
    Dhcp,
}

/// What a stack is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// The address of the Ethernet interface.
    pub mac: [u8; 6],
    /// Its IP addresses. One that is no host's is left out.
    pub address: Address,
    /// Decides sequence numbers and ports. It must be another after every start: a peer remembers
    /// the connections that a reset has cut, and a new one that looks like an old one hangs.
    pub seed: u64,
}

/// TCP over IPv4 and IPv6 over Ethernet, for one thread, which shares it by reference.
pub struct Stack<'m, F> {
    // Borrowed by one call at a time: none calls out while it has it.
    inner: RefCell<Inner<'m, F>>,
}

/// What a stack is.
pub(super) struct Inner<'m, F> {
    pub(super) interface: Interface,
    phy: Phy<'m, F>,
    pub(super) sockets: Sockets<'m>,
    #[cfg(feature = "dhcp")]
    dhcp: Option<SocketHandle>,
    pub(super) now: Instant,
    /// The local port of the next connection that is made, less [`DYNAMIC_PORT_FIRST`].
    port: u16,
}

impl<'m, F: Frames> Stack<'m, F> {
    /// A stack over `frames` that keeps its state in `memory`.
    pub fn new<const SOCKETS: usize, const SLOTS: usize, const BUFFER: usize>(
        memory: &'m mut Memory<'m, SOCKETS, SLOTS, BUFFER>,
        frames: F,
        config: &Config,
        now: Instant,
    ) -> Self {
        let mut phy = Phy::new(&mut memory.frames, frames, BUFFER);
        let slots = memory.slots.write([const { SocketStorage::EMPTY }; SLOTS]);
        let entries = memory.entries.write([Entry::NEW; SOCKETS]);
        let sockets = Sockets::new(slots, &mut memory.buffers, entries);
        // The lowest bit of the first byte would make it the address of a group.
        let [first, rest @ ..] = config.mac;
        let [a, b, c, d, e] = rest;
        let mac = EthernetAddress([first & !1, a, b, c, d, e]);
        let mut settings = iface::Config::new(mac.into());
        settings.random_seed = config.seed;
        let interface = Interface::new(settings, &mut phy, at(now));
        // The top bits of a product with an odd constant that has no pattern: seeds that follow
        // one another give ports far apart.
        let port = (config.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 50) as u16;
        let mut inner = Inner {
            interface,
            phy,
            sockets,
            #[cfg(feature = "dhcp")]
            dhcp: None,
            now,
            port,
        };
        inner.set_up(config.address);
        Self { inner: RefCell::new(inner) }
    }

    /// Receives and sends what there is, and says when the next turn is due: `None` not before a
    /// frame comes, a time that is not after `now` at once.
    pub fn poll(&self, now: Instant) -> Option<Instant> {
        self.inner.borrow_mut().poll(now)
    }

    /// The addresses that the interface has now.
    pub fn addresses(&self) -> Vec<IpCidr, ADDRESSES_MAX> {
        self.inner.borrow().interface.ip_addrs().iter().copied().take(ADDRESSES_MAX).collect()
    }

    /// What went over the wire so far.
    pub fn counters(&self) -> Counters {
        *self.inner.borrow().phy.counters()
    }

    /// The most that the buffers of a socket ever held; sockets are numbered from 0.
    pub fn peaks(&self, socket: usize) -> Option<Peaks> {
        self.inner.borrow().sockets.peaks(socket)
    }

    pub(super) fn with<R>(&self, act: impl FnOnce(&mut Inner<'m, F>) -> R) -> R {
        act(&mut self.inner.borrow_mut())
    }
}

impl<F: Frames> Inner<'_, F> {
    fn set_up(&mut self, address: Address) {
        match address {
            Address::Static {
                v4,
                #[cfg(feature = "ipv6")]
                v6,
                gateway,
            } => {
                let addresses = v4.map(IpCidr::from).into_iter();
                #[cfg(feature = "ipv6")]
                let addresses = addresses.chain(v6.map(IpCidr::from));
                set_addresses(&mut self.interface, addresses);
                set_gateway(&mut self.interface, gateway);
            }
            #[cfg(feature = "dhcp")]
            Address::Dhcp => {
                let mut dhcp = dhcpv4::Socket::new();
                let mut retries = dhcpv4::RetryConfig::default();
                retries.discover_timeout = DISCOVER_TIMEOUT;
                dhcp.set_retry_config(retries);
                self.dhcp = Some(self.sockets.set.add(dhcp));
            }
        }
    }

    fn poll(&mut self, now: Instant) -> Option<Instant> {
        self.now = now;
        let Self { interface, phy, sockets, .. } = self;
        for _ in 0..TURN_FRAMES_MAX {
            let result = interface.poll_ingress_single(at(now), phy, &mut sockets.set);
            if result == PollIngressSingleResult::None {
                break;
            }
        }
        for _ in 0..TURN_FRAMES_MAX {
            if interface.poll_egress(at(now), phy, &mut sockets.set) == PollResult::None {
                break;
            }
        }
        sockets.sweep();
        #[cfg(feature = "dhcp")]
        self.follow_dhcp();
        let due = self.interface.poll_at(at(now), &self.sockets.set)?;
        Some(Instant::from_millis(due.total_millis().max(0).cast_unsigned()).max(now))
    }

    #[cfg(feature = "dhcp")]
    fn follow_dhcp(&mut self) {
        let Some(handle) = self.dhcp else { return };
        let (address, router) = match self.sockets.set.get_mut::<dhcpv4::Socket<'_>>(handle).poll()
        {
            None => return,
            Some(dhcpv4::Event::Configured(lease)) => (Some(lease.address), lease.router),
            Some(dhcpv4::Event::Deconfigured) => (None, None),
        };
        set_addresses(&mut self.interface, address.map(IpCidr::from).into_iter());
        set_gateway(&mut self.interface, router.map(Into::into));
    }

    /// A local port for a connection that is made.
    pub(super) fn next_port(&mut self) -> u16 {
        let port = DYNAMIC_PORT_FIRST | self.port;
        self.port = self.port.wrapping_add(1) & !DYNAMIC_PORT_FIRST;
        port
    }
}

/// smoltcp's time.
fn at(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_millis(i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}

fn set_addresses(interface: &mut Interface, cidrs: impl Iterator<Item = IpCidr>) {
    interface.update_ip_addrs(|addresses| {
        addresses.clear();
        for cidr in cidrs.filter(|cidr| cidr.address().is_unicast()) {
            // There is room for one of each kind.
            let _ = addresses.push(cidr);
        }
    });
}

fn set_gateway(interface: &mut Interface, gateway: Option<IpAddr>) {
    let routes = interface.routes_mut();
    routes.update(|routes| routes.clear());
    // There is room for one.
    let _ = match gateway {
        Some(IpAddr::V4(gateway)) => routes.add_default_ipv4_route(gateway),
        #[cfg(feature = "ipv6")]
        Some(IpAddr::V6(gateway)) => routes.add_default_ipv6_route(gateway),
        _ => Ok(None),
    };
}
