//! Stores that are encrypted: nothing of what was said is on the disk, who has the key reads it, who has not is told so, and damage is
//! still damage.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use synod_platform::disk::{Buffer, File, OpenOptions};
use synod_platform::testing;
use synod_store::check::check;
use synod_store::cipher::{Cipher, KeyName, Keyring, Life, TAG};
use synod_store::{Log, OpenError, Store};

use crate::common::{bytes_of_all_files, directory, small};

/// Keys of 32 bytes; the last is the current one. A cipher for tests: secret, and forged by nobody who does not try.
#[derive(Clone)]
struct Ring(Vec<[u8; 32]>);

struct Hashes([u8; 32]);

fn name(secret: &[u8; 32]) -> KeyName {
    KeyName(*Sha256::digest(secret).first_chunk().unwrap())
}

fn of_life(secret: &[u8; 32], life: Life) -> [u8; 32] {
    let digest = Sha256::new_with_prefix(secret).chain_update(life.epoch.to_le_bytes());
    digest.chain_update(life.salt.to_le_bytes()).finalize().into()
}

impl Keyring for Ring {
    fn current(&self) -> KeyName {
        name(self.0.last().unwrap())
    }

    fn cipher(&self, key: KeyName, life: Life) -> Option<Box<dyn Cipher>> {
        let secret = self.0.iter().find(|secret| name(secret) == key)?;
        Some(Box::new(Hashes(of_life(secret, life))))
    }
}

impl Hashes {
    fn mask(&self, nonce: u64, bytes: &mut [u8]) {
        for (block, bytes) in (0_u64..).zip(bytes.chunks_mut(32)) {
            let digest = Sha256::new_with_prefix(self.0).chain_update(nonce.to_le_bytes());
            let mask = digest.chain_update(block.to_le_bytes()).finalize();
            bytes.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
        }
    }

    fn tag(&self, nonce: u64, head: &[u8], bytes: &[u8]) -> [u8; TAG] {
        let digest = Sha256::new_with_prefix([1; 64]).chain_update(self.0).chain_update(nonce.to_le_bytes());
        *digest.chain_update(head).chain_update(bytes).finalize().first_chunk().unwrap()
    }
}

impl Cipher for Hashes {
    fn encrypt(&self, nonce: u64, head: &[u8], bytes: &mut [u8]) -> [u8; TAG] {
        self.mask(nonce, bytes);
        self.tag(nonce, head, bytes)
    }

    fn decrypt(&self, nonce: u64, head: &[u8], bytes: &mut [u8], tag: &[u8; TAG]) -> bool {
        let fits = self.tag(nonce, head, bytes) == *tag;
        self.mask(nonce, bytes);
        fits
    }
}

async fn open(place: &Path, secrets: &[u8]) -> Result<Store, OpenError> {
    let ring = Ring(secrets.iter().map(|secret| [*secret; 32]).collect());
    Ok(Store::open_encrypted(place, small(), Arc::new(ring), |_| {}).await?.0)
}

fn secret(number: u64) -> Bytes {
    format!("secret {number:06} {}", "x".repeat(number as usize % 300)).into()
}

/// Appends so much that segments are used again.
async fn fill(log: &Log, numbers: std::ops::Range<u64>) {
    for number in numbers {
        log.append(vec![secret(number)]).await.unwrap().1.await.unwrap();
        log.put("secret value", &secret(number)).await.unwrap().await.unwrap();
        if number % 100 == 99 {
            log.compact(log.last() - 50, secret(number)).await.unwrap();
        }
    }
}

/// The last fifty, the value, the snapshot.
async fn expect(log: &Log, next: u64) {
    let entries = log.read(log.first().., usize::MAX).await.unwrap();
    assert!(entries.iter().map(|entry| entry.payload.clone()).eq((next - 50..next).map(secret)));
    assert_eq!(log.get("secret value"), Some(secret(next - 1)));
    assert_eq!(log.snapshot().await.unwrap().unwrap().content, secret(next - 1));
}

async fn secrets_on_disk(place: &Path) -> usize {
    let files = bytes_of_all_files(place).await;
    files.iter().map(|(_, bytes)| bytes.windows(6).filter(|bytes| bytes == b"secret").count()).sum()
}

#[test]
fn what_is_said_is_on_no_disk_and_read_again_by_who_has_the_key() {
    testing::run(1, || async {
        let place = directory();
        let store = open(place.path(), &[7]).await.unwrap();
        fill(&store.log("secret log").unwrap(), 0..400).await;
        expect(&store.log("secret log").unwrap(), 400).await;
        store.close().await;
        assert_eq!(secrets_on_disk(place.path()).await, 0);
        let store = open(place.path(), &[7]).await.unwrap();
        expect(&store.log("secret log").unwrap(), 400).await;
        fill(&store.log("secret log").unwrap(), 400..500).await;
        expect(&store.log("secret log").unwrap(), 500).await;
        store.close().await;
        assert_eq!(secrets_on_disk(place.path()).await, 0);
    });
}

#[test]
fn without_the_key_a_store_is_refused_and_not_called_damaged_and_can_be_checked() {
    testing::run(2, || async {
        let place = directory();
        let store = open(place.path(), &[7]).await.unwrap();
        fill(&store.log("secret log").unwrap(), 0..400).await;
        store.close().await;
        let key = name(&[7; 32]);
        let plain = Store::open(place.path(), small()).await.err();
        assert!(matches!(plain, Some(OpenError::NoKey { key: found, .. }) if found == key), "{plain:?}");
        let other = open(place.path(), &[8]).await.err();
        assert!(matches!(other, Some(OpenError::NoKey { key: found, .. }) if found == key), "{other:?}");
        let liar =
            Store::open_encrypted(place.path(), small(), Arc::new(Liar(Ring(vec![[7; 32]]))), |_| {}).await;
        assert!(matches!(liar.err(), Some(OpenError::WrongKey { .. })));
        let found = check(place.path()).await.unwrap();
        assert_eq!(found.problem, None);
        assert_eq!((&*found.logs[0].name, found.logs[0].first, found.logs[0].last), ("number 1", 351, 400));
        expect(&open(place.path(), &[7]).await.unwrap().log("secret log").unwrap(), 400).await;
    });
}

/// Has another key under the same name.
struct Liar(Ring);

impl Keyring for Liar {
    fn current(&self) -> KeyName {
        self.0.current()
    }

    fn cipher(&self, key: KeyName, life: Life) -> Option<Box<dyn Cipher>> {
        self.0.cipher(key, Life { salt: !life.salt, ..life })
    }
}

#[test]
fn damage_below_the_mark_is_told_with_its_place_with_and_without_the_key() {
    testing::run(3, || async {
        let place = directory();
        let store = open(place.path(), &[7]).await.unwrap();
        fill(&store.log("secret log").unwrap(), 0..7).await;
        store.close().await;
        let file = File::open(place.path().join("00000001.segment"), OpenOptions::READ_WRITE).await.unwrap();
        let (read, mut block) = file.read_exact_at(8192, Buffer::zeroed(4096)).await;
        read.unwrap();
        block[100] ^= 1;
        file.write_all_at(8192, block).await.0.unwrap();
        file.close().await.unwrap();
        let damaged = |problem| matches!(problem, Some(OpenError::Corrupt { offset: 8192, .. }));
        assert!(damaged(check(place.path()).await.unwrap().problem));
        assert!(damaged(open(place.path(), &[7]).await.err()));
    });
}

#[test]
fn a_new_key_is_used_for_what_is_written_and_a_scrub_leaves_nothing_under_the_old_one_or_none() {
    testing::run(4, || async {
        let place = directory();
        let (store, _) = Store::open(place.path(), small()).await.unwrap();
        let log = store.log("secret log").unwrap();
        fill(&log, 0..100).await;
        drop(log);
        store.close().await;
        assert!(secrets_on_disk(place.path()).await > 50);
        for (secrets, numbers) in [(&[7][..], 100..200), (&[7, 8], 200..300)] {
            let store = open(place.path(), secrets).await.unwrap();
            let log = store.log("secret log").unwrap();
            expect(&log, numbers.start).await;
            fill(&log, numbers.clone()).await;
            store.scrub().await.unwrap();
            expect(&log, numbers.end).await;
            drop(log);
            store.close().await;
            assert_eq!(secrets_on_disk(place.path()).await, 0);
        }
        // The old key is needed no more.
        expect(&open(place.path(), &[8]).await.unwrap().log("secret log").unwrap(), 300).await;
    });
}

#[test]
fn an_encrypted_store_is_not_mended_from_another_and_says_why() {
    testing::run(6, || async {
        let place = directory();
        let store = open(place.path(), &[7]).await.unwrap();
        fill(&store.log("secret log").unwrap(), 0..7).await;
        store.close().await;
        let refused = synod_store::mend::mend(place.path(), Path::new("/nowhere"), None).await.unwrap_err();
        assert!(refused.to_string().contains("is encrypted"), "{refused}");
    });
}

/// The same with a cipher that is one.
#[cfg(not(madsim))]
mod with_aes {
    use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

    use super::{
        Arc, Cipher, KeyName, Keyring, Life, Store, TAG, directory, expect, fill, name, of_life,
        secrets_on_disk, small, testing,
    };

    struct Aes([u8; 32]);

    struct AesOfLife(LessSafeKey);

    impl Keyring for Aes {
        fn current(&self) -> KeyName {
            name(&self.0)
        }

        fn cipher(&self, key: KeyName, life: Life) -> Option<Box<dyn Cipher>> {
            let own = UnboundKey::new(&AES_256_GCM, &of_life(&self.0, life)).ok()?;
            (key == name(&self.0)).then(|| Box::new(AesOfLife(LessSafeKey::new(own))) as Box<dyn Cipher>)
        }
    }

    fn nonce(number: u64) -> Nonce {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        Nonce::assume_unique_for_key(bytes)
    }

    impl Cipher for AesOfLife {
        fn encrypt(&self, number: u64, head: &[u8], bytes: &mut [u8]) -> [u8; TAG] {
            let tag = self.0.seal_in_place_separate_tag(nonce(number), Aad::from(head), bytes);
            tag.unwrap().as_ref().try_into().unwrap()
        }

        fn decrypt(&self, number: u64, head: &[u8], bytes: &mut [u8], tag: &[u8; TAG]) -> bool {
            let mut whole = [&*bytes, tag].concat();
            let opened = self.0.open_in_place(nonce(number), Aad::from(head), &mut whole);
            opened.map(|plain| bytes.copy_from_slice(plain)).is_ok()
        }
    }

    #[test]
    fn a_store_under_aes_256_gcm_is_read_again() {
        testing::run(5, || async {
            let place = directory();
            let keys = Arc::new(Aes([9; 32]));
            let open = || Store::open_encrypted(place.path(), small(), keys.clone(), |_| {});
            let (store, _) = open().await.unwrap();
            fill(&store.log("secret log").unwrap(), 0..300).await;
            store.close().await;
            assert_eq!(secrets_on_disk(place.path()).await, 0);
            let (store, _) = open().await.unwrap();
            expect(&store.log("secret log").unwrap(), 300).await;
        });
    }
}

#[cfg(madsim)]
mod amid_power_losses {
    use std::rc::Rc;

    use synod_platform::disk::control::DiskFaults;
    use synod_platform::testing::power_loss_everywhere;

    use super::*;
    use crate::common::TINY;
    use crate::ledger::{Ledger, Script, go_on, good_disk};

    async fn life(ledger: Rc<Ledger>, operations: usize) {
        good_disk();
        let keys = Arc::new(Ring(vec![[7; 32]]));
        let (store, _) = Store::open_encrypted("/store", TINY, keys, |_| {}).await.unwrap();
        let script = Script { operations, in_flight: 3, options: TINY, faults: |_| {}, plant: None };
        go_on(ledger, script, store).await;
    }

    #[test]
    fn acknowledged_is_durable_wherever_power_is_lost_in_an_encrypted_store() {
        let worlds: u64 = [(500, 24), (501, 24), (502, 100)]
            .into_iter()
            .map(|(seed, operations)| {
                power_loss_everywhere(seed, &DiskFaults::default(), 1, move |ledger| life(ledger, operations))
            })
            .sum();
        assert!(worlds > 2 * 50 + 150, "only {worlds} worlds");
    }
}
