//! The committed examples, made from FORMAT.md by a separate implementation, mean what they say: both ways, byte for byte.

use synod_wire::body::{Hello, Reason, Refusal};
use synod_wire::extension::{Builder, Elements, Trace};
use synod_wire::{
    AgentId, Compact, Descriptor, Extension, Full, Head, Kind, MessageId, PAYLOAD_MAX, Priority, Tag,
};

macro_rules! golden {
    ($name:literal) => {
        unhex(include_str!(concat!("golden/", $name, ".hex")))
    };
}

fn unhex(text: &str) -> Vec<u8> {
    text.lines()
        .flat_map(|line| line.split('#').next().unwrap_or_default().split_whitespace())
        .map(|byte| u8::from_str_radix(byte, 16).expect("golden files hold hexadecimal bytes"))
        .collect()
}

fn both_ways(bytes: &[u8], frame: &Full<'_>) {
    assert_eq!(Full::decode_exact(bytes).as_ref(), Ok(frame));
    assert_eq!(frame.to_vec().as_deref(), Ok(bytes));
}

fn compact_both_ways(bytes: &[u8], record: &Compact<'_>) {
    assert_eq!(Compact::decode(bytes).as_ref(), Ok(&(*record, bytes.len())));
    let mut out = Vec::new();
    record.encode(&mut out);
    assert_eq!(out, bytes);
}

#[test]
fn a_ping_is_a_header_alone() {
    let bytes = golden!("full-ping");
    assert_eq!(bytes.len(), 64);
    both_ways(&bytes, &Full::new(Head::new(Kind::Ping), b""));
}

#[test]
fn a_publish_has_its_subject_first() {
    let head = Head {
        priority: Priority::Low,
        source: AgentId(0x1122_3344_5566_7788),
        message: MessageId(42),
        ..Head::new(Kind::Publish)
    };
    both_ways(&golden!("full-publish"), &Full::new(head, b"hello").on("orders.new"));
}

#[test]
fn a_request_carries_all_there_is() {
    let trace = Trace {
        trace: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736u128.to_be_bytes(),
        span: 0x00f0_67aa_0ba9_02b7u64.to_be_bytes(),
        flags: 1,
    };
    let elements = Builder::new()
        .trace(trace)
        .and_then(|builder| builder.element(0x7F01, b"abc"))
        .expect("both fit and are allowed");
    let payload: Vec<u8> = (0..=255).collect();
    let head = Head {
        kind: Kind::Request,
        priority: Priority::Critical,
        source: AgentId(7),
        target: AgentId(9),
        message: MessageId(u64::MAX),
        correlation: 0xDEAD_BEEF,
        deadline: 1_500_000_000,
    };
    let frame =
        Full { head, subject: Some("prüfen.straße"), elements: elements.elements(), payload: &payload };
    let bytes = golden!("full-request");
    both_ways(&bytes, &frame);
    let read = Full::decode_exact(&bytes).expect("it was just read");
    assert_eq!(read.elements.trace(), Some(trace));
    assert_eq!(read.elements.get(0x7F01), Some(&b"abc"[..]));
    assert_eq!(read.elements.get(0x7F02), None);
}

#[test]
fn a_link_begins_and_ends_with_words() {
    let hello = Hello {
        oldest: 1,
        newest: 1,
        node: 3,
        incarnation: 17,
        payload_max: PAYLOAD_MAX as u32,
        name: "north",
    };
    let head = Head {
        priority: Priority::High,
        source: AgentId(3),
        message: MessageId(1),
        ..Head::new(Kind::Hello)
    };
    let bytes = golden!("full-hello");
    both_ways(&bytes, &Full::new(head, &hello.encode()));
    assert_eq!(Hello::decode(&bytes[64..]), Ok(hello));

    let refusal = Refusal { reason: Reason::Draining, text: "going down" };
    let head = Head {
        priority: Priority::Critical,
        source: AgentId(3),
        message: MessageId(2),
        ..Head::new(Kind::Goodbye)
    };
    let bytes = golden!("full-goodbye");
    both_ways(&bytes, &Full::new(head, &refusal.encode()));
    assert_eq!(Refusal::decode(&bytes[64..]), Ok(refusal));
}

#[test]
fn interest_is_a_subject_pattern() {
    let head = Head {
        priority: Priority::High,
        source: AgentId(3),
        message: MessageId(3),
        ..Head::new(Kind::Interest)
    };
    let frame = Full { head, subject: Some("orders.>"), elements: Elements::EMPTY, payload: b"" };
    both_ways(&golden!("full-interest"), &frame);
}

#[test]
fn lane_records_mean_what_the_table_says() {
    let tag = Tag::new(Kind::Publish, Priority::Background, 0);
    compact_both_ways(
        &golden!("compact-publish"),
        &Compact { tag, sequence: 0, extension: None, payload: b"" },
    );

    let tag = Tag::new(Kind::Request, Priority::Critical, 0x0102).extended();
    let extension = Some(Extension { correlation: 5, deadline: 123_456_789_012_345 });
    let sequence = (1 << 63) + 1;
    compact_both_ways(&golden!("compact-request"), &Compact { tag, sequence, extension, payload: b"abc" });

    let descriptor = Descriptor { region: 2, slot: 4, generation: 9, len: 1 << 20 };
    let payload = &descriptor.encode();
    let tag = Tag::new(Kind::Reply, Priority::Normal, 513).extended().by_descriptor();
    let extension = Some(Extension { correlation: 6, deadline: 0 });
    compact_both_ways(&golden!("compact-large-reply"), &Compact { tag, sequence: 77, extension, payload });

    let tag = Tag::new(Kind::Release, Priority::High, 513).by_descriptor();
    let record = Compact { tag, sequence: 78, extension: None, payload };
    compact_both_ways(&golden!("compact-release"), &record);
    assert_eq!(Descriptor::decode(payload), Ok(descriptor));
}
