//! What is sent is what is stored, and what is stored is what is fetched, to the byte.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use kift_tests::files::{assert_same, place, place_in, random, room, write_random};
use kift_tests::machine::{Running, command, kift, skip};
use kift_tests::serving::Server;

const GIB: u64 = 1 << 30;

/// Sends `local`, compares what is stored, fetches it again, compares that, and what both said.
fn there_and_back(server: &Server, local: &Path, fetched: &Path) {
    let name = local.file_name().unwrap().to_str().unwrap();
    let source = local.to_str().unwrap();
    let put = kift(["put", "--plain", "--json", source, &server.at("")]).moved();
    assert_same(local, &server.file(name));
    let get = ["get", "--plain", "--json", &server.at(name), fetched.to_str().unwrap()];
    let got = kift(get).moved();
    assert_same(local, fetched);

    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(local).unwrap()).unwrap();
    let digest = hasher.finalize().to_hex();
    for objects in [put, got] {
        assert_eq!(objects.len(), 1, "{objects:?}");
        assert_eq!(objects[0]["path"], name);
        assert_eq!(objects[0]["size"], local.metadata().unwrap().len());
        assert_eq!(objects[0]["blake3"], digest.as_str());
    }
}

#[test]
fn every_size_around_a_chunk_and_a_frame() {
    let (server, here) = (Server::new(), place());
    for len in [0, 1, 1023, 1024, 1025, 32 * 1024, 32 * 1024 + 1, 65_536, (1 << 20) + 1] {
        let local = here.path().join(format!("{len}.bin"));
        write_random(&local, len, len);
        there_and_back(&server, &local, &here.path().join("fetched"));
    }
    assert!(server.partials().is_empty());
}

#[test]
fn zeros_are_kept_wherever_they_are() {
    let (server, here) = (Server::new(), place());
    // The server leaves runs of zeros out: at the beginning, between, at the end, everywhere.
    let mut middle = random(200_000, 1);
    middle[50_000..150_000].fill(0);
    let ends = [vec![0; 70_000], random(1000, 2), vec![0; 70_001]].concat();
    for (name, bytes) in [("middle", middle), ("ends", ends), ("all", vec![0; 100_000])] {
        let local = here.path().join(name);
        fs::write(&local, bytes).unwrap();
        there_and_back(&server, &local, &here.path().join("fetched"));
    }
}

#[test]
fn a_gibibyte() {
    let test = "a_gibibyte";
    let here = place();
    // The file, the stored one, the fetched one.
    if room(here.path()) < 3 * GIB + GIB / 4 {
        skip(test, "needs 3.25 GiB of room for temporary files");
        return;
    }
    let server = Server::new();
    let local = here.path().join("gibibyte.bin");
    write_random(&local, GIB, 1);
    there_and_back(&server, &local, &here.path().join("fetched"));
}

/// A file whose offsets do not fit 32 bits, most of it holes. It comes back through a pipe, since a
/// client writes holes out.
#[test]
fn more_than_four_gibibytes() {
    let test = "more_than_four_gibibytes";
    let len = 4 * GIB + 96 * 1024 * 1024 + 1;
    let here = place_in(&std::env::temp_dir()).unwrap();
    if room(here.path()) < len + GIB {
        skip(test, "needs 5.1 GiB of room for temporary files");
        return;
    }
    let local = here.path().join("sparse.img");
    let file = File::create(&local).unwrap();
    file.set_len(len).unwrap();
    for (seed, at) in [0, GIB + 511, 4 * GIB - 700, 4 * GIB + 1_048_575, len - 1].iter().enumerate()
    {
        let island = random((len - at).min(4096) as usize, seed as u64);
        file.write_all_at(&island, *at).unwrap();
    }
    let root = here.path().join("served");
    fs::create_dir(&root).unwrap();
    let server =
        Server::start(kift_tests::serving::Serve { root: Some(&root), ..Default::default() });

    let put = ["put", "--plain", "--json", local.to_str().unwrap(), &server.at("")];
    let put = kift(put).objects().remove(0);
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(&local).unwrap()).unwrap();
    let digest = hasher.finalize().to_hex();
    assert_eq!((&put["size"], &put["blake3"]), (&len.into(), &digest.as_str().into()));

    let stat = ["stat", "--plain", "--blake3", "--json", &server.at("sparse.img")];
    let stat = kift(stat).objects().remove(0);
    assert_eq!((&stat["size"], &stat["blake3"]), (&len.into(), &digest.as_str().into()));
    let stored = server.file("sparse.img").metadata().unwrap();
    assert_eq!(stored.len(), len);
    assert!(stored.blocks() * 512 < GIB, "holes are kept: {} blocks", stored.blocks());

    let (get, stdout) = Running::piping(command(["get", "--plain", &server.at("sparse.img"), "-"]));
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(stdout).unwrap();
    get.end().ok();
    assert_eq!((hasher.count(), hasher.finalize().to_hex()), (len, digest));
}
