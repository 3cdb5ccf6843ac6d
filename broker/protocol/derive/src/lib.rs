//! `#[derive(Message)]`: per-version encoding and decoding of Kafka messages, written as attributes on plain structs.
//!
//! On a struct that is a whole message: `#[kafka(request = "Produce", versions = "3-13", flexible = "9+")]`, or
//! `response = "…"` for an answer, or neither for a message that belongs to no API. Structs nested in it have no
//! attribute: they follow the message that they stand in.
//!
//! On a field, all optional:
//!
//! | attribute | meaning |
//! |---|---|
//! | `versions = "3+"` | the versions that have the field; all, if not given |
//! | `nullable = "7+"` | the versions in which it may be null; an `Option` without it may be so wherever it exists |
//! | `tag = 0` | it is a tagged field, written only if it is not the default |
//! | `tagged = "12+"` | the versions in which it is tagged; all that have it, if not given |
//! | `default = "-1"` | its default, if not the type's; `"null"` for none |
//! | `ignorable` | it is left out of versions without it, where any other field must then have its default |
//!
//! Without `default = "null"`, the default of an `Option` is the empty value, as in Kafka's generated code.
//!
//! Generated are `Default`, `Encode`, `Decode`, `IntoOwned`, an inherent `into_owned`, and for whole messages
//! `Message` and `ApiMessage`.

mod attributes;
mod generate;

use proc_macro::TokenStream;

/// Generates the wire form of a struct; see the crate's documentation for the attributes.
#[proc_macro_derive(Message, attributes(kafka))]
pub fn derive_message(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    attributes::parse(&input)
        .map(|parsed| generate::generate(&parsed))
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}
