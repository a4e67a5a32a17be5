//! Two stacks at the ends of a wire that is in memory, in a time of their own.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;
use std::boxed::Box;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::vec;
use std::vec::Vec;

use embedded_io::{Error as _, ErrorKind, Read as _, ReadReady as _, Write as _};
use embedded_nal::{TcpClientStack as _, TcpFullStack as _, nb};
use kift_core::driver::NalStream;
use kift_core::time::Instant;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket, UdpRepr,
};

use super::{
    Address, Config, Connection, Error, Frames, Ipv4Cidr, Ipv6Cidr, Memory, Socket, Stack,
};

const PORT: u16 = 1000;
const SOCKETS: usize = 2;
const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), PORT);
const SERVER_V6: SocketAddr =
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)), PORT);

type Queue = Rc<RefCell<VecDeque<Vec<u8>>>>;

/// One end of the wire. Every `lose`-th frame that is sent here is lost.
struct Pipe {
    receives: Queue,
    sends: Queue,
    lose: Rc<Cell<u32>>,
    sent: u32,
}

impl Frames for Pipe {
    fn receive(&mut self, buf: &mut [u8]) -> Option<usize> {
        let frame = self.receives.borrow_mut().pop_front()?;
        buf[..frame.len()].copy_from_slice(&frame);
        Some(frame.len())
    }

    fn send(&mut self, frame: &[u8]) -> bool {
        self.sent += 1;
        if self.lose.get() == 0 || !self.sent.is_multiple_of(self.lose.get()) {
            self.sends.borrow_mut().push_back(frame.to_vec());
        }
        true
    }
}

/// A server with two sockets, and a client with four.
struct Pair {
    server: Stack<'static, Pipe>,
    client: Stack<'static, Pipe>,
    lose: Rc<Cell<u32>>,
    now: Cell<Instant>,
}

impl Pair {
    fn new() -> Self {
        let (up, down) = (Queue::default(), Queue::default());
        let lose = Rc::new(Cell::new(0));
        let pipe = |receives: &Queue, sends: &Queue| Pipe {
            receives: receives.clone(),
            sends: sends.clone(),
            lose: lose.clone(),
            sent: 0,
        };
        let server = Memory::<SOCKETS, 3, 2048>::new();
        let server = stack(server, pipe(&up, &down), 1);
        let client = stack(Memory::<4, 5, 4096>::new(), pipe(&down, &up), 2);
        Self { server, client, lose, now: Cell::new(Instant::from_millis(5)) }
    }

    /// A millisecond of both.
    fn turn(&self) {
        self.now.set(self.now.get().after(Duration::from_millis(1)));
        self.client.poll(self.now.get());
        self.server.poll(self.now.get());
    }

    fn turns(&self, count: u32) {
        (0..count).for_each(|_| self.turn());
    }

    /// Takes turns until there is a result.
    #[track_caller]
    fn until<T>(&self, mut call: impl FnMut() -> nb::Result<T, Error>) -> Result<T, Error> {
        for _ in 0..120_000 {
            match call() {
                Err(nb::Error::WouldBlock) => self.turn(),
                Err(nb::Error::Other(error)) => return Err(error),
                Ok(value) => return Ok(value),
            }
        }
        panic!("stuck");
    }

    fn listener(&self) -> Socket {
        let mut server = &self.server;
        let mut listener = server.socket().unwrap();
        server.bind(&mut listener, PORT).unwrap();
        server.listen(&mut listener).unwrap();
        listener
    }

    fn connect(&self, remote: SocketAddr) -> Result<Socket, Error> {
        let mut client = &self.client;
        let mut socket = client.socket()?;
        match self.until(|| client.connect(&mut socket, remote)) {
            Ok(()) => Ok(socket),
            Err(error) => {
                client.close(socket)?;
                Err(error)
            }
        }
    }

    fn accept(&self, listener: &mut Socket) -> Socket {
        self.until(|| (&self.server).accept(listener)).unwrap().0
    }

    /// A connection, its client's end first.
    fn connected(&self, listener: &mut Socket) -> (Socket, Socket) {
        let client = self.connect(SERVER).unwrap();
        (client, self.accept(listener))
    }

    /// Sends `len` bytes from one to the other, and looks that they come.
    fn transfer(
        &self,
        from: (&Stack<'_, Pipe>, &mut Socket),
        to: (&Stack<'_, Pipe>, &mut Socket),
        len: usize,
    ) {
        let (mut from, sender) = from;
        let (mut to, receiver) = to;
        let data: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        let (mut sent, mut got, mut buf) = (0, vec![], [0; 700]);
        while got.len() < len {
            match from.send(sender, &data[sent..]) {
                Ok(n) => sent += n,
                Err(error) => assert_eq!(error, nb::Error::WouldBlock),
            }
            self.turn();
            match to.receive(receiver, &mut buf) {
                Ok(n) => got.extend_from_slice(&buf[..n]),
                Err(error) => assert_eq!(error, nb::Error::WouldBlock),
            }
        }
        assert!(got == data);
    }
}

fn stack<const N: usize, const M: usize, const B: usize>(
    memory: Memory<'static, N, M, B>,
    frames: Pipe,
    host: u8,
) -> Stack<'static, Pipe> {
    let config = Config {
        mac: [2, 0, 0, 0, 0, host],
        address: Address::Static {
            v4: Some(Ipv4Cidr::new(Ipv4Addr::new(10, 0, 0, host), 24)),
            v6: Some(Ipv6Cidr::new(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, host.into()), 64)),
            gateway: None,
        },
        seed: host.into(),
    };
    Stack::new(Box::leak(Box::new(memory)), frames, &config, Instant::from_millis(0))
}

#[test]
fn moves_data_both_ways_over_ipv4_and_ipv6() {
    for remote in [SERVER, SERVER_V6] {
        let pair = Pair::new();
        let mut listener = pair.listener();
        let mut client = pair.connect(remote).unwrap();
        let mut server = pair.accept(&mut listener);
        pair.transfer((&pair.client, &mut client), (&pair.server, &mut server), 50_000);
        pair.transfer((&pair.server, &mut server), (&pair.client, &mut client), 50_000);
        assert_eq!(pair.client.counters().retransmits, 0);
        assert!(pair.server.counters().bytes_in > 50_000);
        let peaks = pair.server.peaks(0).unwrap();
        assert!(peaks.rx > 700 && peaks.tx == 2048, "{peaks:?}");
    }
}

#[test]
fn moves_data_over_a_wire_that_loses_frames() {
    let pair = Pair::new();
    let mut listener = pair.listener();
    let (mut client, mut server) = pair.connected(&mut listener);
    pair.lose.set(10);
    pair.transfer((&pair.client, &mut client), (&pair.server, &mut server), 50_000);
    pair.transfer((&pair.server, &mut server), (&pair.client, &mut client), 50_000);
    assert!(pair.client.counters().retransmits > 1);
    assert!(pair.server.counters().retransmits > 1);
}

#[test]
fn says_that_a_connection_was_refused() {
    let pair = Pair::new();
    assert_eq!(pair.connect(SERVER), Err(Error::Refused));
    let elsewhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), PORT);
    assert_eq!(pair.connect(elsewhere), Err(Error::Unaddressable));
}

#[test]
fn gives_up_on_a_host_that_is_not_there() {
    let pair = Pair::new();
    let nobody = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9)), PORT);
    assert_eq!(pair.connect(nobody), Err(Error::Refused));
    assert!(pair.now.get() < Instant::from_millis(25_000));
}

#[test]
fn tells_the_end_of_the_stream_after_its_data() {
    let pair = Pair::new();
    let mut listener = pair.listener();
    let (mut client, mut server) = pair.connected(&mut listener);
    let (mut at_client, mut at_server) = (&pair.client, &pair.server);
    assert_eq!(at_client.send(&mut client, b"bye"), Ok(3));
    at_client.close(client).unwrap();
    let mut buf = [0; 10];
    assert_eq!(pair.until(|| at_server.receive(&mut server, &mut buf)), Ok(3));
    let end = pair.until(|| at_server.receive(&mut server, &mut buf));
    assert_eq!(end, Err(Error::Finished));
    // The other direction is open still.
    assert_eq!(at_server.send(&mut server, b"bye"), Ok(3));
}

#[test]
fn accepts_what_has_come_and_gone() {
    let pair = Pair::new();
    let mut listener = pair.listener();
    let mut client = pair.connect(SERVER).unwrap();
    (&pair.client).send(&mut client, b"bye").unwrap();
    (&pair.client).close(client).unwrap();
    pair.turns(100);
    let mut server = pair.accept(&mut listener);
    let mut buf = [0; 10];
    assert_eq!((&pair.server).receive(&mut server, &mut buf), Ok(3));
    assert_eq!((&pair.server).receive(&mut server, &mut buf), Err(Error::Finished.into()));
}

#[test]
fn tells_of_a_peer_that_has_vanished_without_a_word() {
    let pair = Pair::new();
    let mut listener = pair.listener();
    let (_, mut server) = pair.connected(&mut listener);
    pair.lose.set(1);
    let start = pair.now.get();
    let end = pair.until(|| (&pair.server).receive(&mut server, &mut [0; 10]));
    assert_eq!(end, Err(Error::Reset));
    assert_eq!((&pair.server).send(&mut server, b"?"), Err(Error::Reset.into()));
    let took = pair.now.get().as_millis() - start.as_millis();
    assert!((15_000..25_000).contains(&took), "{took}");
}

#[test]
fn keeps_a_connection_that_is_idle() {
    let pair = Pair::new();
    let mut listener = pair.listener();
    let (mut client, mut server) = pair.connected(&mut listener);
    pair.turns(100_000);
    pair.transfer((&pair.client, &mut client), (&pair.server, &mut server), 5000);
    assert_eq!(pair.server.counters().retransmits, 0);
}

#[test]
fn waits_for_a_peer_that_takes_nothing_for_a_while() {
    let pair = Pair::new();
    let mut listener = pair.listener();
    let (mut client, mut server) = pair.connected(&mut listener);
    let (mut sent, mut got, mut buf) = (0, 0, [0; 999]);
    for _ in 0..45_000 {
        sent += (&pair.server).send(&mut server, &[1; 100]).unwrap_or(0);
        pair.turn();
    }
    for _ in 0..20_000 {
        got += (&pair.client).receive(&mut client, &mut buf).unwrap_or(0);
        pair.turn();
    }
    assert_eq!((sent, got), (2048 + 4096, sent));
}

#[test]
fn accepts_two_at_once_and_no_more() {
    let pair = Pair::new();
    let mut listener = pair.listener();
    // All that are free listen once somebody asked whether anyone has come.
    assert_eq!((&pair.server).accept(&mut listener), Err(nb::Error::WouldBlock));
    let mut clients = [pair.connect(SERVER).unwrap(), pair.connect(SERVER).unwrap()];
    assert_eq!(pair.connect(SERVER), Err(Error::Refused));
    let mut servers = [pair.accept(&mut listener), pair.accept(&mut listener)];
    assert_eq!((&pair.server).socket(), Err(Error::NoSocket));
    for (client, server) in clients.iter_mut().zip(&mut servers) {
        pair.transfer((&pair.client, client), (&pair.server, server), 5000);
    }
    for client in clients {
        (&pair.client).close(client).unwrap();
    }
    let [first, _second] = servers;
    (&pair.server).close(first).unwrap();
    pair.turns(20);
    assert_eq!((&pair.server).accept(&mut listener), Err(nb::Error::WouldBlock));
    let _ = pair.connected(&mut listener);
}

#[test]
fn serves_one_after_the_other_whoever_closes_first() {
    let pair = Pair::new();
    let mut listener = pair.listener();
    for i in 0..100 {
        let (mut client, mut server) = pair.connected(&mut listener);
        pair.transfer((&pair.client, &mut client), (&pair.server, &mut server), 3000);
        pair.transfer((&pair.server, &mut server), (&pair.client, &mut client), 3000);
        if i % 2 == 0 {
            (&pair.client).close(client).unwrap();
            pair.turns(i);
            (&pair.server).close(server).unwrap();
        } else {
            (&pair.server).close(server).unwrap();
            pair.turns(i);
            (&pair.client).close(client).unwrap();
        }
        pair.turns(5);
    }
    assert!(pair.now.get() < Instant::from_millis(60_000), "{:?}", pair.now.get());
}

#[test]
fn is_not_locked_out_by_peers_that_never_close() {
    let pair = Pair::new();
    let mut listener = pair.listener();
    let mut peers = vec![];
    for _ in 0..2 * SOCKETS {
        let (mut peer, server) = pair.connected(&mut listener);
        (&pair.server).close(server).unwrap();
        // It has more to say than anybody will hear, and stays.
        for _ in 0..2100 {
            let _ = (&pair.client).send(&mut peer, &[0; 100]);
            pair.turn();
        }
        peers.push(peer);
        assert_eq!((&pair.server).accept(&mut listener), Err(nb::Error::WouldBlock));
    }
}

#[test]
fn sends_what_was_written_before_it_closes() {
    let pair = Pair::new();
    let mut listener = pair.listener();
    let (mut client, mut server) = pair.connected(&mut listener);
    assert_eq!((&pair.server).send(&mut server, &[7; 2000]), Ok(2000));
    (&pair.server).close(server).unwrap();
    let (mut got, mut buf) = (0, [0; 99]);
    loop {
        match pair.until(|| (&pair.client).receive(&mut client, &mut buf)) {
            Ok(n) => got += n,
            Err(error) => break assert_eq!(error, Error::Finished),
        }
    }
    assert_eq!(got, 2000);
}

#[test]
fn a_connection_never_waits() {
    let pair = Pair::new();
    let mut listener = pair.listener();
    let (client, server) = pair.connected(&mut listener);
    let mut client = Connection::new(&pair.client, client);
    let mut server = Connection::new(&pair.server, server);
    let mut buf = [0; 64];
    assert_eq!(server.read(&mut buf).unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(server.read_ready(), Ok(false));
    assert_eq!(client.write(&[1; 5000]), Ok(4096));
    assert_eq!(client.write(&[1; 5000]).unwrap_err().kind(), ErrorKind::TimedOut);
    pair.turns(3);
    assert_eq!(server.read_ready(), Ok(true));
    assert_eq!(server.read(&mut buf), Ok(64));
    // The client's stack aborts what is closed and then needed; here the server goes first.
    drop(server);
    pair.turns(20);
    assert_eq!(client.read(&mut buf), Ok(0));
    assert_eq!(client.read_ready(), Ok(true));
}

#[test]
fn a_connection_that_was_reset_says_so() {
    let pair = Pair::new();
    let mut listener = pair.listener();
    let client = pair.connect(SERVER).unwrap();
    (&pair.server).close(listener).unwrap();
    pair.turns(3);
    let mut client = Connection::new(&pair.client, client);
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(client.write(&[0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    listener = pair.listener();
    let _ = pair.connected(&mut listener);
}

#[test]
fn dials_through_the_stream_of_core() {
    let pair = Pair::new();
    let mut listener = pair.listener();
    let waiting = |waits| {
        pair.turn();
        waits < 100
    };
    let mut client = NalStream::connect(&pair.client, SERVER, waiting).unwrap();
    let mut server = Connection::new(&pair.server, pair.accept(&mut listener));
    let mut buf = [0; 8];
    assert_eq!(client.write(b"hello").unwrap(), 5);
    assert_eq!(client.read(&mut buf).unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(server.read(&mut buf), Ok(5));
    assert_eq!(server.write(b"welcome"), Ok(7));
    assert_eq!(client.read(&mut buf).unwrap(), 7);
    drop(server);
    assert_eq!(client.read(&mut buf).unwrap(), 0);
    client.close().unwrap();
    assert!(NalStream::connect(&pair.client, SocketAddr::new(SERVER.ip(), 1), waiting).is_err());
}

#[test]
fn starts_at_other_ports_after_every_boot() {
    let mut ports: Vec<u16> = (0..50)
        .map(|seed| {
            let pipe = Pipe {
                receives: Queue::default(),
                sends: Queue::default(),
                lose: Rc::default(),
                sent: 0,
            };
            let stack = stack(Memory::<1, 2, 64>::new(), pipe, seed);
            stack.with(|stack| stack.next_port())
        })
        .collect();
    assert!(ports.iter().all(|port| *port >= 49_152));
    ports.sort_unstable();
    assert!(ports.windows(2).all(|pair| pair[1] - pair[0] > 50), "{ports:?}");
}

/// Answers a DHCP client's frames as a server does that has one address to give.
fn answer_dhcp(frame: &[u8], is_generous: bool) -> Option<Vec<u8>> {
    let request = EthernetFrame::new_checked(frame).ok()?;
    let ip = Ipv4Packet::new_checked(request.payload()).ok()?;
    let udp = UdpPacket::new_checked(ip.payload()).ok()?;
    let dhcp = DhcpPacket::new_checked(udp.payload()).ok()?;
    let client = DhcpRepr::parse(&dhcp).ok()?;
    let server = Ipv4Addr::new(10, 0, 0, 1);
    let message_type = match client.message_type {
        DhcpMessageType::Discover => DhcpMessageType::Offer,
        DhcpMessageType::Request if is_generous => DhcpMessageType::Ack,
        _ => DhcpMessageType::Nak,
    };
    let answer = DhcpRepr {
        message_type,
        your_ip: Ipv4Addr::new(10, 0, 0, 77),
        server_ip: server,
        router: Some(server),
        subnet_mask: Some(Ipv4Addr::new(255, 255, 255, 0)),
        server_identifier: Some(server),
        lease_duration: Some(120),
        client_identifier: None,
        requested_ip: None,
        parameter_request_list: None,
        max_size: None,
        ..client
    };
    let checks = ChecksumCapabilities::default();
    let udp = UdpRepr { src_port: 67, dst_port: 68 };
    let ip = Ipv4Repr {
        src_addr: server,
        dst_addr: Ipv4Addr::BROADCAST,
        next_header: IpProtocol::Udp,
        payload_len: udp.header_len() + answer.buffer_len(),
        hop_limit: 64,
    };
    let mut bytes = vec![0; 14 + ip.buffer_len() + ip.payload_len];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
    frame.set_src_addr(EthernetAddress([2, 0, 0, 0, 0, 1]));
    frame.set_dst_addr(EthernetAddress::BROADCAST);
    frame.set_ethertype(EthernetProtocol::Ipv4);
    let mut packet = Ipv4Packet::new_unchecked(frame.payload_mut());
    ip.emit(&mut packet, &checks);
    let (from, to) = (ip.src_addr.into(), ip.dst_addr.into());
    let mut datagram = UdpPacket::new_unchecked(packet.payload_mut());
    udp.emit(
        &mut datagram,
        &from,
        &to,
        answer.buffer_len(),
        |payload| {
            answer.emit(&mut DhcpPacket::new_unchecked(payload)).unwrap();
        },
        &checks,
    );
    Some(bytes)
}

#[test]
fn takes_its_address_from_a_dhcp_server_and_gives_it_back() {
    let (up, down) = (Queue::default(), Queue::default());
    let pipe = Pipe { receives: up.clone(), sends: down.clone(), lose: Rc::default(), sent: 0 };
    let config = Config { mac: [2, 0, 0, 0, 0, 2], address: Address::Dhcp, seed: 1 };
    let memory = Box::leak(Box::new(Memory::<1, 2, 1024>::new()));
    let stack = Stack::new(memory, pipe, &config, Instant::from_millis(0));
    let run = |from: u64, is_generous| {
        for ms in from..from + 20 {
            stack.poll(Instant::from_millis(ms));
            let answers = down.take();
            up.borrow_mut().extend(answers.iter().filter_map(|it| answer_dhcp(it, is_generous)));
        }
    };
    let mut dialler = &stack;
    let mut socket = dialler.socket().unwrap();
    assert_eq!(dialler.connect(&mut socket, SERVER), Err(Error::Unaddressable.into()));
    run(0, true);
    let lease = Ipv4Cidr::new(Ipv4Addr::new(10, 0, 0, 77), 24);
    assert_eq!(stack.addresses(), [lease.into()]);
    assert_eq!(dialler.connect(&mut socket, SERVER), Err(nb::Error::WouldBlock));
    // The lease is over, and the server does not give another.
    run(130_000, false);
    assert_eq!(stack.addresses(), []);
    run(132_000, false);
    assert_eq!(dialler.connect(&mut socket, SERVER), Err(Error::Refused.into()));
}
