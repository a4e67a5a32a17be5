// Runs both ends of `core/README.md`: who they know gets the log, and a stranger nothing. One
// expression, as it is included in a function.
{
    mod other {
        include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/readme/other.rs"));
    }
    use other::{Other, Seed, fetch, keys, log, now, store, stream};

    let [board, other, stranger] = keys();
    for (met, is_known) in [(&other, true), (&stranger, false)] {
        let (here, there) = stream();
        let (stored, found) = std::thread::scope(|scope| {
            let storing = scope.spawn(|| store(there, met, *board.public()));
            let mut buffers = [[0; 1052]; 2];
            let (key, random) = (*other.public(), &mut Seed(2));
            let stored = put_log(here, &mut buffers, now, &board, key, random, &log());
            (stored, storing.join().unwrap())
        });
        assert_eq!(matches!(stored, Some(Reply::Stored { .. })), is_known, "{stored:?}");
        assert_eq!(found.path.as_deref(), is_known.then_some("device.log"));
        assert_eq!(found.whole, is_known.then(log));
    }

    for (met, is_known) in [(&other, true), (&stranger, false)] {
        let (here, there) = stream();
        let (served, found) = std::thread::scope(|scope| {
            let paths = ["other.log", "device.log"];
            let fetching = scope.spawn(move || fetch(there, met, *keys()[0].public(), &paths));
            let mut buffers = [[0; 1052]; 2];
            let (key, random) = (*other.public(), &mut Seed(3));
            let served = serve_log(here, &mut buffers, now, &board, key, random, &log());
            (served, fetching.join().unwrap())
        });
        assert_eq!(served.is_some(), is_known);
        assert_eq!(found.whole, is_known.then(log));
        match &found.results[..] {
            [] => assert!(!is_known),
            [absent, got] => {
                assert_eq!(*absent, Err(Failure::Peer(Code::NotFound)));
                assert!(matches!(got, Ok(Reply::Got { .. })), "{got:?}");
            }
            others => panic!("{others:?}"),
        }
    }
}
