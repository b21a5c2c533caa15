//! Entry point.
fn main() {
    print!("{}", synod_sim::scenario::schema::text());
}
