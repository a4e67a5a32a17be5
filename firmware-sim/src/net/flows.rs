//! Counts what TCP had to send twice.
//!
//! smoltcp does not say when it retransmits, so this looks at the segments on their way out.

#[cfg(feature = "ipv6")]
use smoltcp::wire::Ipv6Packet;
use smoltcp::wire::{EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, TcpPacket};

/// Connections that are remembered.
const FLOWS: usize = 8;

/// The ports of a connection, and the sequence number up to which it has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Flow {
    ports: (u16, u16),
    end: u32,
}

/// The connections seen last.
#[derive(Debug, Default)]
pub(super) struct Flows {
    flows: [Flow; FLOWS],
    oldest: usize,
}

impl Flows {
    /// Notes an outgoing frame, and says whether it is a TCP segment that brings nothing new.
    pub(super) fn is_repeat(&mut self, frame: &[u8]) -> bool {
        let Ok(frame) = EthernetFrame::new_checked(frame) else { return false };
        match frame.ethertype() {
            EthernetProtocol::Ipv4 => Ipv4Packet::new_checked(frame.payload())
                .is_ok_and(|ip| ip.next_header() == IpProtocol::Tcp && self.note(ip.payload())),
            #[cfg(feature = "ipv6")]
            EthernetProtocol::Ipv6 => Ipv6Packet::new_checked(frame.payload())
                .is_ok_and(|ip| ip.next_header() == IpProtocol::Tcp && self.note(ip.payload())),
            _ => false,
        }
    }

    fn note(&mut self, segment: &[u8]) -> bool {
        let Ok(tcp) = TcpPacket::new_checked(segment) else { return false };
        let ports = (tcp.src_port(), tcp.dst_port());
        let seq = tcp.seq_number().0.cast_unsigned();
        let known = self.flows.iter_mut().find(|flow| flow.ports == ports);
        if tcp.syn() {
            let flow = match known {
                Some(flow) => flow,
                None => {
                    self.oldest = self.oldest.wrapping_add(1) % FLOWS;
                    let Some(flow) = self.flows.get_mut(self.oldest) else { return false };
                    flow
                }
            };
            *flow = Flow { ports, end: seq.wrapping_add(1) };
            return false;
        }
        let Some(flow) = known else { return false };
        let len = tcp.payload().len();
        // A single byte is a keep-alive or a probe of a closed window.
        if len <= 1 {
            return false;
        }
        let end = seq.wrapping_add(len as u32);
        let is_repeat = end.wrapping_sub(flow.end).cast_signed() <= 0;
        if !is_repeat {
            flow.end = end;
        }
        is_repeat
    }
}
