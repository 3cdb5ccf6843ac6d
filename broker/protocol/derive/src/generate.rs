//! The generated code.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};

use crate::attributes::{DefaultValue, FieldAttributes, MessageAttributes, Parsed, Shape, Side, Versions};

pub fn generate(parsed: &Parsed) -> TokenStream {
    let parts = [
        default(parsed),
        encode(parsed),
        decode(parsed),
        into_owned(parsed),
        sample(parsed),
        message(parsed),
    ];
    quote! { #(#parts)* }
}

/// The struct's name with its lifetime, as it stands in an impl for any lifetime.
fn self_type(parsed: &Parsed) -> TokenStream {
    let name = &parsed.name;
    match parsed.lifetime {
        Some(_) => quote!(#name<'_>),
        None => quote!(#name),
    }
}

/// The generics of an impl that names the struct's lifetime, and the struct's name with it.
fn with_lifetime(parsed: &Parsed) -> (Option<TokenStream>, TokenStream) {
    let name = &parsed.name;
    match &parsed.lifetime {
        Some(lifetime) => (Some(quote!(<#lifetime>)), quote!(#name<#lifetime>)),
        None => (None, quote!(#name)),
    }
}

/// A condition on `form.version`, or `None` where it always holds.
fn within(range: Versions) -> Option<TokenStream> {
    let Versions { min, max } = range;
    match (min, max) {
        (i16::MIN..=0, i16::MAX) => None,
        (_, i16::MAX) => Some(quote!(form.version >= #min)),
        (i16::MIN..=0, _) => Some(quote!(form.version <= #max)),
        _ => Some(quote!((#min..=#max).contains(&form.version))),
    }
}

/// `body` under a condition, if there is one.
fn guarded(condition: Option<TokenStream>, body: TokenStream) -> TokenStream {
    match condition {
        Some(condition) => quote!(if #condition { #body }),
        None => body,
    }
}

fn full_name(parsed: &Parsed, field: &FieldAttributes) -> String {
    format!("{}.{}", parsed.name, field.name)
}

fn default_expression(field: &FieldAttributes) -> TokenStream {
    match (&field.default, field.shape) {
        (DefaultValue::Null, _) => quote!(::core::option::Option::None),
        (DefaultValue::Value(value), Shape::Plain) => quote!(#value),
        (DefaultValue::Value(value), _) => quote!(::core::option::Option::Some(#value)),
        (DefaultValue::Type, Shape::Plain) => quote!(::core::default::Default::default()),
        (DefaultValue::Type, _) => quote!(::core::option::Option::Some(::core::default::Default::default())),
    }
}

fn default(parsed: &Parsed) -> TokenStream {
    let ty = self_type(parsed);
    let names = parsed.fields.iter().map(|field| &field.name);
    let values = parsed.fields.iter().map(default_expression);
    quote! {
        impl ::core::default::Default for #ty {
            fn default() -> Self {
                Self { #(#names: #values),* }
            }
        }
    }
}

/// The condition for a field to stand outside the tagged fields: `Some(None)` is always, `None` is never.
fn untagged_condition(field: &FieldAttributes) -> Option<Option<TokenStream>> {
    match field.tag {
        None => Some(within(field.versions)),
        Some((_, tagged)) if tagged.covers(field.versions) => None,
        Some((_, tagged)) => {
            let tagged = within(tagged).unwrap_or_else(|| quote!(true));
            let untagged = match within(field.versions) {
                Some(present) => quote!(#present && !(#tagged)),
                None => quote!(!(#tagged)),
            };
            Some(Some(untagged))
        }
    }
}

fn encode_value(parsed: &Parsed, field: &FieldAttributes) -> TokenStream {
    let (name, full) = (&field.name, full_name(parsed, field));
    let null_check = field.nullable.and_then(within).map(|allowed| {
        quote! {
            if self.#name.is_none() && !(#allowed) {
                return Err(::taffrail_protocol::codec::EncodeError::unexpected_null(#full, form.version));
            }
        }
    });
    let function = match field.shape {
        Shape::NullableStruct => quote!(::taffrail_protocol::codec::encode_nullable_struct),
        Shape::Plain | Shape::NullableLength => quote!(::taffrail_protocol::codec::Encode::encode),
    };
    quote! {
        #null_check
        if let Err(error) = #function(&self.#name, w, form) {
            return Err(error.in_field(#full));
        }
    }
}

/// The refusal to write a version that lacks a field which is set.
fn absent_check(parsed: &Parsed, field: &FieldAttributes) -> Option<TokenStream> {
    if field.ignorable {
        return None;
    }
    let condition = within(field.versions)?;
    let (name, full, default) = (&field.name, full_name(parsed, field), default_expression(field));
    Some(quote! {
        if !(#condition) && ::taffrail_protocol::codec::differs(&self.#name, &#default) {
            return Err(::taffrail_protocol::codec::EncodeError::field_not_in_version(#full, form.version));
        }
    })
}

fn encode_tags(parsed: &Parsed) -> TokenStream {
    let tagged =
        parsed.fields.iter().filter_map(|field| field.tag.map(|tag| (field, tag))).collect::<Vec<_>>();
    if tagged.is_empty() {
        return quote! {
            if form.flexible {
                w.put_uvarint(0);
            }
        };
    }
    let flags = tagged.iter().map(|(field, _)| format_ident!("has_{}", field.name)).collect::<Vec<_>>();
    let conditions = tagged.iter().map(|(field, (_, versions))| {
        let (name, default) = (&field.name, default_expression(field));
        let differs = quote!(::taffrail_protocol::codec::differs(&self.#name, &#default));
        within(*versions).map_or_else(|| differs.clone(), |condition| quote!(#condition && #differs))
    });
    let writes = tagged.iter().zip(&flags).map(|((field, (tag, _)), flag)| {
        let (value, full) = (encode_value(parsed, field), full_name(parsed, field));
        quote! {
            if #flag {
                let mark = w.begin_tag(#tag);
                #value
                if let Err(error) = w.end_tag(mark) {
                    return Err(error.in_field(#full));
                }
            }
        }
    });
    quote! {
        if form.flexible {
            #(let #flags = #conditions;)*
            w.put_uvarint(0 #(+ u32::from(#flags))*);
            #(#writes)*
        }
    }
}

fn encode(parsed: &Parsed) -> TokenStream {
    let ty = self_type(parsed);
    let fields = parsed.fields.iter().map(|field| {
        let check = absent_check(parsed, field);
        let write =
            untagged_condition(field).map(|condition| guarded(condition, encode_value(parsed, field)));
        quote!(#check #write)
    });
    let tags = encode_tags(parsed);
    quote! {
        impl ::taffrail_protocol::codec::Encode for #ty {
            fn encode(
                &self,
                w: &mut ::taffrail_protocol::codec::Writer,
                form: ::taffrail_protocol::codec::Form,
            ) -> ::core::result::Result<(), ::taffrail_protocol::codec::EncodeError> {
                #(#fields)*
                #tags
                Ok(())
            }
        }
    }
}

fn decode_value(parsed: &Parsed, field: &FieldAttributes, reader: &TokenStream) -> TokenStream {
    let (ty, full) = (&field.ty, full_name(parsed, field));
    let function = match field.shape {
        Shape::NullableStruct => quote!(::taffrail_protocol::codec::decode_nullable_struct),
        Shape::Plain | Shape::NullableLength => {
            quote!(<#ty as ::taffrail_protocol::codec::Decode<'_>>::decode)
        }
    };
    let null_check = field.nullable.and_then(within).map(|allowed| {
        quote! {
            if value.is_none() && !(#allowed) {
                return Err((#reader).unexpected_null(#full, form.version));
            }
        }
    });
    quote! {
        match #function(#reader, form) {
            Ok(value) => {
                #null_check
                value
            }
            Err(error) => return Err(error.in_field(#full)),
        }
    }
}

fn decode_tags(parsed: &Parsed) -> TokenStream {
    let arms = parsed.fields.iter().filter_map(|field| {
        let (tag, versions) = field.tag?;
        let (name, full) = (&field.name, full_name(parsed, field));
        let value = decode_value(parsed, field, &quote!(&mut tag.value));
        let condition = within(versions).map(|condition| quote!(if #condition));
        Some(quote! {
            #tag #condition => {
                #name = #value;
                if let Err(error) = r.end_tag(&tag) {
                    return Err(error.in_field(#full));
                }
            }
        })
    });
    let arms = arms.collect::<Vec<_>>();
    if arms.is_empty() {
        return quote! {
            if form.flexible {
                r.skip_tags()?;
            }
        };
    }
    quote! {
        if form.flexible {
            for _ in 0..r.read_tag_count()? {
                let mut tag = r.read_tag()?;
                match tag.tag {
                    #(#arms)*
                    _ => {}
                }
            }
        }
    }
}

fn decode_field(parsed: &Parsed, field: &FieldAttributes) -> TokenStream {
    let (name, ty, default) = (&field.name, &field.ty, default_expression(field));
    let mutable = field.tag.map(|_| quote!(mut));
    let value = match untagged_condition(field) {
        None => default,
        Some(condition) => {
            let value = decode_value(parsed, field, &quote!(r));
            match condition {
                None => value,
                Some(condition) => quote!(if #condition { #value } else { #default }),
            }
        }
    };
    quote!(let #mutable #name: #ty = #value;)
}

fn min_size(parsed: &Parsed) -> TokenStream {
    let sizes = parsed.fields.iter().filter_map(|field| {
        let ty = &field.ty;
        let size = match field.shape {
            Shape::NullableStruct => quote!(1),
            Shape::Plain | Shape::NullableLength => {
                quote!(<#ty as ::taffrail_protocol::codec::Decode<'_>>::min_size(form))
            }
        };
        let add = quote!(size += #size;);
        Some(guarded(untagged_condition(field)?, add))
    });
    quote! {
        let mut size = usize::from(form.flexible);
        #(#sizes)*
        size
    }
}

fn decode(parsed: &Parsed) -> TokenStream {
    let name = &parsed.name;
    let (impl_lifetime, ty) = match &parsed.lifetime {
        Some(lifetime) => (quote!(#lifetime), quote!(#name<#lifetime>)),
        None => (quote!('decoded), quote!(#name)),
    };
    let names = parsed.fields.iter().map(|field| &field.name);
    let fields = parsed.fields.iter().map(|field| decode_field(parsed, field));
    let (tags, min_size) = (decode_tags(parsed), min_size(parsed));
    quote! {
        impl<#impl_lifetime> ::taffrail_protocol::codec::Decode<#impl_lifetime> for #ty {
            fn min_size(form: ::taffrail_protocol::codec::Form) -> usize {
                #min_size
            }

            fn decode(
                r: &mut ::taffrail_protocol::codec::Reader<#impl_lifetime>,
                form: ::taffrail_protocol::codec::Form,
            ) -> ::core::result::Result<Self, ::taffrail_protocol::codec::DecodeError> {
                #(#fields)*
                #tags
                Ok(Self { #(#names),* })
            }
        }
    }
}

fn into_owned(parsed: &Parsed) -> TokenStream {
    let ty = self_type(parsed);
    let name = &parsed.name;
    let names = parsed.fields.iter().map(|field| &field.name).collect::<Vec<_>>();
    let owned = match parsed.lifetime {
        Some(_) => quote!(#name<'static>),
        None => quote!(#name),
    };
    let (generics, this) = with_lifetime(parsed);
    let inherent = quote! {
        impl #generics #this {
            /// The same value, independent of the bytes it was read from.
            #[must_use]
            pub fn into_owned(self) -> #owned {
                ::taffrail_protocol::codec::IntoOwned::into_owned(self)
            }
        }
    };
    quote! {
        impl ::taffrail_protocol::codec::IntoOwned for #ty {
            type Owned = #owned;

            fn into_owned(self) -> Self::Owned {
                #name { #(#names: ::taffrail_protocol::codec::IntoOwned::into_owned(self.#names)),* }
            }
        }

        #inherent
    }
}

/// Random values that a version can express, for the tests of the crate that owns the codec.
fn sample(parsed: &Parsed) -> TokenStream {
    let (generics, this) = with_lifetime(parsed);
    let names = parsed.fields.iter().map(|field| &field.name);
    let values = parsed.fields.iter().map(|field| {
        let (ty, default) = (&field.ty, default_expression(field));
        let any = quote!(<#ty as ::taffrail_protocol::codec::sample::Sample>::sample(s, form));
        let value = match field.nullable.and_then(within) {
            Some(allowed) => {
                quote!(match #any { None if !(#allowed) => Some(Default::default()), value => value })
            }
            None => any,
        };
        let value = match field.tag {
            Some(_) => quote!(if s.flip() { #default } else { s.uncounted(|s| #value) }),
            None => value,
        };
        match within(field.versions) {
            Some(present) => quote!(if #present { #value } else { #default }),
            None => value,
        }
    });
    quote! {
        ::taffrail_protocol::__sample! {
            impl #generics ::taffrail_protocol::codec::sample::Sample for #this {
                fn sample(
                    s: &mut ::taffrail_protocol::codec::sample::Sampler,
                    form: ::taffrail_protocol::codec::Form,
                ) -> Self {
                    Self { #(#names: #values),* }
                }
            }
        }
    }
}

fn message(parsed: &Parsed) -> TokenStream {
    let Some(MessageAttributes { api, versions, flexible }) = &parsed.message else {
        return TokenStream::new();
    };
    let (ty, name) = (self_type(parsed), parsed.name.to_string());
    let Versions { min, max } = *versions;
    let flexible = flexible.unwrap_or(i16::MAX);
    let api = api.as_ref().map(|(side, key)| api_message(&ty, *side, key));
    quote! {
        impl ::taffrail_protocol::codec::Message for #ty {
            const NAME: &'static str = #name;
            const VERSIONS: ::taffrail_protocol::codec::VersionRange =
                ::taffrail_protocol::codec::VersionRange { min: #min, max: #max };
            const FLEXIBLE_FROM: i16 = #flexible;
        }

        #api
    }
}

fn api_message(ty: &TokenStream, side: Side, key: &Ident) -> TokenStream {
    let header_version = match side {
        Side::Request => quote!(request_header_version),
        Side::Response => quote!(response_header_version),
    };
    quote! {
        impl ::taffrail_protocol::codec::ApiMessage for #ty {
            const API_KEY: ::taffrail_protocol::ApiKey = ::taffrail_protocol::ApiKey::#key;

            fn header_version(version: i16) -> i16 {
                Self::API_KEY.#header_version(version)
            }
        }
    }
}
