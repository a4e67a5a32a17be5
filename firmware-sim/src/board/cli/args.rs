//! The command line, as the user writes it.

use std::ffi::OsString;
use std::format;
use std::net::IpAddr;
use std::path::PathBuf;
use std::string::String;
use std::time::Duration;
use std::vec::Vec;

use clap::{ArgGroup, Parser, Subcommand, ValueEnum};
use kift_core::secure::{PublicKey, Token};

use super::target::Target;
use super::units::{rate, share, size, small_size, time};

/// A kift device on a modelled microcontroller: smoltcp over a TAP interface, files on NOR flash,
/// static memory and no heap.
///
/// Its links are sealed, and it knows its peers by their keys: see `flash trust` and --pair.
///
/// With --netns it makes a network of its own and runs the command behind `--` in it, with
/// KIFT_DEVICE=ADDRESS:PORT and KIFT_HOST=ADDRESS in its environment.
#[derive(Debug, Parser)]
#[command(name = "kift-firmware-sim", version, max_term_width = 100)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve the files in flash, until the command behind `--` ends
    Serve(Serve),
    /// Dial a server and send it a file from flash
    Push(Push),
    /// Dial a server and fetch a file into flash
    Fetch(Fetch),
    /// Look into a flash image, or change it
    #[command(subcommand)]
    Flash(Flash),
}

/// The device and its board.
#[derive(Debug, clap::Args)]
pub(super) struct Board {
    /// The flash image; made where there is none, and formatted where it is blank
    #[arg(long, value_name = "FILE")]
    pub(super) flash: PathBuf,
    /// Neither encrypt nor authenticate, on a network that nobody else is on; both ends must say so
    #[arg(long)]
    pub(super) plain: bool,
    /// Become known to a peer, and it to the device, by a token that both are given once
    #[arg(long, value_name = "TOKEN", conflicts_with = "plain")]
    pub(super) pair: Option<Token>,
    /// Bytes of a flash image that is made
    #[arg(long, value_name = "SIZE", default_value = "4M", value_parser = small_size)]
    pub(super) flash_size: u32,
    /// How long the flash takes to erase a block of 4 KiB
    #[arg(long, value_name = "TIME", default_value = "50ms", value_parser = time)]
    pub(super) erase_time: Duration,
    /// How long the flash takes to program a page of 256 bytes
    #[arg(long, value_name = "TIME", default_value = "700us", value_parser = time)]
    pub(super) program_time: Duration,
    /// Cut the power in the Nth flash operation after boot, and boot again
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) cut_after: Option<u64>,
    /// RAM that the device may take for all it owns
    #[arg(long, value_name = "SIZE", default_value = "64k", value_parser = size)]
    pub(super) ram: u64,
    /// Bytes of each of a connection's two buffers: 1k, 2k, 4k or 8k
    #[arg(long, value_name = "SIZE", default_value = "4k", value_parser = size)]
    pub(super) buffers: u64,
    /// Sessions at once, 1 or 2
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) sessions: usize,
    /// Have the device write a log file of this size at its boot
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(super) log: Option<u64>,
    #[command(flatten)]
    pub(super) network: Network,
    /// End after this time
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    pub(super) run_time: Option<Duration>,
    /// A command to run beside the device
    #[arg(last = true, value_name = "COMMAND")]
    pub(super) peer: Vec<OsString>,
}

/// Network.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Network", group(ArgGroup::new("interface").required(true)))]
pub(super) struct Network {
    /// Make a network namespace with a TAP interface, and enter it
    #[arg(long, group = "interface")]
    pub(super) netns: bool,
    /// Use this TAP interface
    #[arg(long, value_name = "NAME", group = "interface")]
    pub(super) tap: Option<String>,
    /// The device's address with its prefix length, or dhcp; may be repeated
    #[arg(long, value_name = "CIDR", default_values = ["192.168.69.2/24", "fd00:6b69::2/64"])]
    pub(super) ip: Vec<String>,
    /// The router of the device's network
    #[arg(long, value_name = "ADDRESS")]
    pub(super) gateway: Option<IpAddr>,
    /// Bits a second that the link carries each way
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(super) bandwidth: Option<u64>,
    /// How long a frame is on its way, each way
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = time)]
    pub(super) latency: Duration,
    /// Share of the frames that are lost, each way
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = share)]
    pub(super) loss: f64,
    /// Share of the frames that have a bit changed, each way
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = share)]
    pub(super) corrupt: f64,
    /// By which losses, corruptions and torn pages are chosen
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
    /// Write all frames to this file, for Wireshark
    #[arg(long, value_name = "FILE")]
    pub(super) pcap: Option<PathBuf>,
}

/// Serve the files in flash.
#[derive(Debug, clap::Args)]
pub(super) struct Serve {
    /// The port to listen on
    #[arg(long, default_value_t = 5438, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) port: u16,
    #[command(flatten)]
    pub(super) board: Board,
}

/// Send a file.
#[derive(Debug, clap::Args)]
pub(super) struct Push {
    /// The file in flash; --log writes it
    #[arg(value_name = "LOGFILE")]
    pub(super) local: String,
    /// Where to: ADDRESS[:PORT]/PATH
    pub(super) remote: Target,
    #[command(flatten)]
    pub(super) rounds: Rounds,
    #[command(flatten)]
    pub(super) board: Board,
}

/// Fetch a file.
#[derive(Debug, clap::Args)]
pub(super) struct Fetch {
    /// What: ADDRESS[:PORT]/PATH
    #[arg(value_name = "REMOTE/PATH")]
    pub(super) remote: Target,
    /// The name that it gets in flash, if not its own
    pub(super) local: Option<String>,
    #[command(flatten)]
    pub(super) rounds: Rounds,
    #[command(flatten)]
    pub(super) board: Board,
}

/// How often.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Rounds {
    /// Do it again and again, with this time of sleep in between
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) every: Option<Duration>,
    /// How often in all; without end if --every is given and this is not
    #[arg(long, value_name = "N", requires = "every", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) times: Option<u64>,
}

/// What can be done with an image while no device runs on it.
#[derive(Debug, Subcommand)]
pub(super) enum Flash {
    /// List the files, and how worn the flash is
    Ls {
        /// The flash image
        image: PathBuf,
    },
    /// Make an empty store
    Format {
        /// The flash image; made where there is none
        image: PathBuf,
        /// Bytes of an image that is made
        #[arg(long, value_name = "SIZE", default_value = "4M", value_parser = small_size)]
        flash_size: u32,
        /// Give the device no seed for its random numbers: it can then seal no link
        #[arg(long)]
        no_seed: bool,
    },
    /// Print the device's public key, its fingerprint, and the peers that the device knows
    Key {
        /// The flash image
        image: PathBuf,
    },
    /// Have the device know a peer by its public key
    Trust {
        /// The flash image
        image: PathBuf,
        /// The key: 43 characters of base64
        key: PublicKey,
        /// What it is known as
        #[arg(long = "as", value_name = "ROLE", default_value = "both")]
        role: Role,
    },
    /// Have the device know a peer no more
    Forget {
        /// The flash image
        image: PathBuf,
        /// The key: 43 characters of base64
        key: PublicKey,
    },
    /// Copy a file into the store
    Add {
        /// The flash image
        image: PathBuf,
        /// The file
        file: PathBuf,
        /// The name that it gets, if not its own
        name: Option<String>,
    },
    /// Print a file
    Cat {
        /// The flash image
        image: PathBuf,
        /// The file
        name: String,
    },
    /// Read every file and compare it with its BLAKE3
    Verify {
        /// The flash image
        image: PathBuf,
    },
    /// Store a file while the power is cut, mount again and say what is there
    ///
    /// Without --operation it tries every operation, each on a copy, and the image stays as it is.
    Cut {
        /// The flash image
        image: PathBuf,
        /// The file
        file: PathBuf,
        /// The name that it gets, if not its own
        name: Option<String>,
        /// Cut the power only in this operation, of the image itself
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        operation: Option<u64>,
        /// By which it is chosen how a page or block is torn
        #[arg(long, value_name = "N", default_value_t = 1)]
        seed: u64,
    },
}

/// What a peer is known as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Role {
    /// It may dial the device and ask
    Client,
    /// The device may dial it
    Server,
    /// Both
    Both,
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_network_must_be_named() {
        assert!(parse("sim serve --flash f --netns").is_ok());
        assert!(parse("sim serve --flash f --tap tap0").is_ok());
        assert!(parse("sim serve --flash f").is_err());
        assert!(parse("sim serve --flash f --netns --tap tap0").is_err());
    }

    #[test]
    fn the_peer_comes_last() {
        let line = "sim push log 192.168.69.1/in/ --flash f --netns --log 1M -- kift serve --plain";
        let Command::Push(push) = parse(line).unwrap().command else { panic!("push was meant") };
        assert_eq!(push.local, "log");
        assert_eq!(push.remote.address, SocketAddr::from(([192, 168, 69, 1], 5438)));
        assert_eq!(push.board.log, Some(1 << 20));
        assert_eq!(push.board.peer, ["kift", "serve", "--plain"]);
    }

    #[test]
    fn a_number_of_rounds_needs_a_time_between() {
        let line = "sim fetch 192.168.69.1/a --flash f --netns";
        assert!(parse(line).is_ok());
        assert!(parse("sim fetch 192.168.69.1/a --flash f --netns --times 3").is_err());
        assert!(parse("sim fetch 192.168.69.1/a --flash f --netns --every 1s --times 3").is_ok());
    }
}
