//! The part of clatter's API that kift-core uses, without a panic: see `../../blake3`. What it calls
//! back, a cipher, it calls.

#![no_std]

pub mod bytearray {
    #[derive(Clone)]
    pub struct SensitiveByteArray<A>(pub(crate) A);

    impl<A> core::ops::Deref for SensitiveByteArray<A> {
        type Target = A;

        fn deref(&self) -> &A {
            &self.0
        }
    }
}

pub mod crypto {
    pub mod hash {
        pub struct Sha256;

        impl crate::traits::Hash for Sha256 {
            type Output = crate::bytearray::SensitiveByteArray<[u8; 32]>;

            fn hash(data: &[u8]) -> Self::Output {
                crate::bytearray::SensitiveByteArray([data.len() as u8; 32])
            }
        }
    }
}

pub mod error {
    pub enum CipherError {
        Decrypt,
        Encrypt,
    }

    pub type CipherResult<T> = Result<T, CipherError>;
}

pub mod traits {
    use crate::error::CipherResult;

    pub trait CryptoComponent: Clone {
        fn name() -> &'static str;
    }

    pub trait Hash {
        type Output;

        fn hash(data: &[u8]) -> Self::Output;
    }

    pub trait Cipher: CryptoComponent {
        type Key;

        fn tag_len() -> usize;
        fn encrypt(
            k: &Self::Key,
            n: u64,
            ad: &[u8],
            text: &[u8],
            out: &mut [u8],
        ) -> CipherResult<()>;
        fn encrypt_in_place(
            k: &Self::Key,
            n: u64,
            ad: &[u8],
            in_out: &mut [u8],
            len: usize,
        ) -> CipherResult<usize>;
        fn decrypt(
            k: &Self::Key,
            n: u64,
            ad: &[u8],
            text: &[u8],
            out: &mut [u8],
        ) -> CipherResult<()>;
        fn decrypt_in_place(
            k: &Self::Key,
            n: u64,
            ad: &[u8],
            in_out: &mut [u8],
            len: usize,
        ) -> CipherResult<usize>;
    }
}

pub mod cipherstate {
    use crate::bytearray::SensitiveByteArray;
    use crate::traits::Cipher;

    pub struct CipherState<C: Cipher>(pub(crate) C::Key);

    impl<C: Cipher> CipherState<C> {
        pub fn take(self) -> (C::Key, u64) {
            (self.0, 0)
        }
    }

    pub struct CipherStates<C: Cipher> {
        pub initiator_to_responder: CipherState<C>,
        pub responder_to_initiator: CipherState<C>,
    }

    pub(crate) fn key() -> SensitiveByteArray<[u8; 32]> {
        SensitiveByteArray(core::hint::black_box([0; 32]))
    }
}

pub mod symmetricstate {
    use core::hint::black_box;
    use core::marker::PhantomData;

    use crate::bytearray::SensitiveByteArray;
    use crate::cipherstate::{CipherState, CipherStates, key};
    use crate::error::CipherResult;
    use crate::traits::Cipher;

    pub struct SymmetricState<C, H>(PhantomData<(C, H)>);

    impl<C: Cipher<Key = SensitiveByteArray<[u8; 32]>>, H> SymmetricState<C, H> {
        pub fn new(name: &str) -> Self {
            black_box(name);
            Self(PhantomData)
        }

        pub fn mix_hash(&mut self, data: &[u8]) {
            black_box(data);
        }

        pub fn mix_key(&mut self, data: &[u8]) {
            black_box(data);
        }

        pub fn mix_key_and_hash(&mut self, data: &[u8]) {
            black_box(data);
        }

        pub fn has_key(&self) -> bool {
            black_box(true)
        }

        pub fn encrypt_and_hash(&mut self, text: &[u8], out: &mut [u8]) -> CipherResult<()> {
            C::encrypt(&key(), black_box(0), black_box(&[]), text, out)
        }

        pub fn decrypt_and_hash(&mut self, text: &[u8], out: &mut [u8]) -> CipherResult<()> {
            C::decrypt(&key(), black_box(0), black_box(&[]), text, out)
        }

        pub fn split(&self) -> CipherResult<CipherStates<C>> {
            let initiator_to_responder = CipherState(key());
            Ok(CipherStates { initiator_to_responder, responder_to_initiator: CipherState(key()) })
        }
    }
}
