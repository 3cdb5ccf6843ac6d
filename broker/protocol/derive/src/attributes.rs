//! What the attributes say, checked: every mistake becomes a compile error at its place.

use proc_macro2::Span;
use syn::meta::ParseNestedMeta;
use syn::spanned::Spanned;
use syn::{
    Data, DeriveInput, Error, Expr, Field, Fields, GenericArgument, Ident, LitInt, LitStr, PathArguments,
    Type,
};

/// A range of versions, as in `"3-7"`, `"3+"` or `"3"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    pub min: i16,
    pub max: i16,
}

impl Versions {
    pub const ALL: Self = Self { min: 0, max: i16::MAX };

    fn parse(text: &LitStr) -> Result<Self, Error> {
        let value = text.value();
        let number = |part: &str| {
            part.parse::<i16>().ok().filter(|number| *number >= 0).ok_or_else(|| {
                Error::new(
                    text.span(),
                    format!("`{value}` is no version range: write \"3-7\", \"3+\" or \"3\""),
                )
            })
        };
        let range = match (value.strip_suffix('+'), value.split_once('-')) {
            (Some(min), _) => Self { min: number(min)?, max: i16::MAX },
            (None, Some((min, max))) => Self { min: number(min)?, max: number(max)? },
            (None, None) => Self { min: number(&value)?, max: number(&value)? },
        };
        if range.min > range.max {
            return Err(Error::new(text.span(), format!("the range `{value}` ends before it begins")));
        }
        Ok(range)
    }

    /// Whether all of `other` lies in this range.
    pub fn covers(self, other: Self) -> bool {
        self.min <= other.min && other.max <= self.max
    }
}

/// Which side of an API a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Request,
    Response,
}

/// The attributes of a struct that is a whole message.
pub struct MessageAttributes {
    pub api: Option<(Side, Ident)>,
    pub versions: Versions,
    pub flexible: Option<i16>,
}

/// How a field's type is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Never null.
    Plain,
    /// An `Option` whose null is a length of -1.
    NullableLength,
    /// An `Option` of a struct, whose null is a marker.
    NullableStruct,
}

/// The default value of a field.
pub enum DefaultValue {
    /// Its type's; for an `Option`, the empty value.
    Type,
    Null,
    Value(Expr),
}

/// One field with its attributes.
pub struct FieldAttributes {
    pub name: Ident,
    pub ty: Type,
    pub shape: Shape,
    pub versions: Versions,
    /// Narrower than `versions` only.
    pub nullable: Option<Versions>,
    pub tag: Option<(u32, Versions)>,
    pub default: DefaultValue,
    pub ignorable: bool,
}

/// A struct, understood.
pub struct Parsed {
    pub name: Ident,
    pub lifetime: Option<syn::Lifetime>,
    pub message: Option<MessageAttributes>,
    pub fields: Vec<FieldAttributes>,
}

pub fn parse(input: &DeriveInput) -> Result<Parsed, Error> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new(input.span(), "only structs can be Kafka messages"));
    };
    let Fields::Named(named) = &data.fields else {
        return Err(Error::new(input.ident.span(), "a Kafka message needs named fields"));
    };
    let lifetime = lifetime(input)?;
    let message = message_attributes(input)?;
    let fields = named.named.iter().map(field_attributes).collect::<Result<Vec<_>, _>>()?;
    check_tags(&fields)?;
    Ok(Parsed { name: input.ident.clone(), lifetime, message, fields })
}

fn lifetime(input: &DeriveInput) -> Result<Option<syn::Lifetime>, Error> {
    let mut params = input.generics.params.iter();
    match (params.next(), params.next()) {
        (None, _) => Ok(None),
        (Some(syn::GenericParam::Lifetime(param)), None) => Ok(Some(param.lifetime.clone())),
        (Some(_), _) => Err(Error::new(
            input.generics.span(),
            "a Kafka message has at most one lifetime and no type parameter",
        )),
    }
}

fn message_attributes(input: &DeriveInput) -> Result<Option<MessageAttributes>, Error> {
    let mut found: Option<Span> = None;
    let (mut api, mut versions, mut flexible) = (None, None, None);
    for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("kafka")) {
        found = Some(attribute.span());
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("request") {
                set(&meta, &mut api, |text| Ok((Side::Request, text.parse()?)))
            } else if meta.path.is_ident("response") {
                set(&meta, &mut api, |text| Ok((Side::Response, text.parse()?)))
            } else if meta.path.is_ident("versions") {
                set(&meta, &mut versions, bounded)
            } else if meta.path.is_ident("flexible") {
                set(&meta, &mut flexible, open)
            } else {
                Err(meta.error("unknown attribute of a message: there are `request`, `response`, `versions` and `flexible`"))
            }
        })?;
    }
    let Some(span) = found else { return Ok(None) };
    let Some(versions) = versions else {
        return Err(Error::new(span, "a message needs its versions, as in `versions = \"0-3\"`"));
    };
    Ok(Some(MessageAttributes { api, versions, flexible }))
}

fn bounded(text: &LitStr) -> Result<Versions, Error> {
    let versions = Versions::parse(text)?;
    if versions.max == i16::MAX {
        return Err(Error::new(text.span(), "a message's versions need an upper end, as in \"0-3\""));
    }
    Ok(versions)
}

fn open(text: &LitStr) -> Result<i16, Error> {
    let versions = Versions::parse(text)?;
    if versions.max != i16::MAX {
        return Err(Error::new(text.span(), "once flexible, always flexible: write it as in \"9+\""));
    }
    Ok(versions.min)
}

/// Takes `name = "value"` into `slot`, once.
fn set<T>(
    meta: &ParseNestedMeta<'_>,
    slot: &mut Option<T>,
    parse: impl FnOnce(&LitStr) -> Result<T, Error>,
) -> Result<(), Error> {
    let text = meta.value()?.parse::<LitStr>()?;
    if slot.replace(parse(&text)?).is_some() {
        return Err(meta.error("given twice"));
    }
    Ok(())
}

fn field_attributes(field: &Field) -> Result<FieldAttributes, Error> {
    let Some(name) = field.ident.clone() else {
        return Err(Error::new(field.span(), "a Kafka message needs named fields"));
    };
    let (mut versions, mut nullable, mut tagged, mut default) = (None, None, None, None);
    let (mut tag, mut ignorable) = (None::<u32>, false);
    for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("kafka")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("versions") {
                set(&meta, &mut versions, Versions::parse)
            } else if meta.path.is_ident("nullable") {
                set(&meta, &mut nullable, Versions::parse)
            } else if meta.path.is_ident("tagged") {
                set(&meta, &mut tagged, Versions::parse)
            } else if meta.path.is_ident("tag") {
                tag = Some(meta.value()?.parse::<LitInt>()?.base10_parse()?);
                Ok(())
            } else if meta.path.is_ident("default") {
                set(&meta, &mut default, default_value)
            } else if meta.path.is_ident("ignorable") {
                ignorable = true;
                Ok(())
            } else {
                Err(meta.error(
                    "unknown attribute of a field: there are `versions`, `nullable`, `tag`, `tagged`, `default` and `ignorable`",
                ))
            }
        })?;
    }
    let shape = shape(&field.ty)?;
    let default = default.unwrap_or(DefaultValue::Type);
    let error = |text: &str| Err(Error::new(name.span(), text));
    if shape == Shape::Plain && nullable.is_some() {
        return error("only an `Option` can be nullable");
    }
    if shape == Shape::Plain && matches!(default, DefaultValue::Null) {
        return error("only the default of an `Option` can be null");
    }
    if tag.is_none() && tagged.is_some() {
        return error("a tagged field needs its number, as in `tag = 0`");
    }
    let versions = versions.unwrap_or(Versions::ALL);
    let nullable = nullable.filter(|nullable| !nullable.covers(versions));
    // In versions without nulls Kafka writes such a struct without its marker: another form, which nothing needs.
    if shape == Shape::NullableStruct && nullable.is_some() {
        return error("a struct can only be nullable in all versions that have it");
    }
    let tag = tag.map(|tag| (tag, tagged.unwrap_or(versions)));
    Ok(FieldAttributes { name, ty: field.ty.clone(), shape, versions, nullable, tag, default, ignorable })
}

fn default_value(text: &LitStr) -> Result<DefaultValue, Error> {
    if text.value() == "null" {
        return Ok(DefaultValue::Null);
    }
    text.parse().map(DefaultValue::Value)
}

fn check_tags(fields: &[FieldAttributes]) -> Result<(), Error> {
    let mut last = None;
    for field in fields {
        let Some((tag, _)) = field.tag else { continue };
        if last.is_some_and(|last| last >= tag) {
            return Err(Error::new(
                field.name.span(),
                "tagged fields stand in the ascending order of their numbers",
            ));
        }
        last = Some(tag);
    }
    Ok(())
}

fn shape(ty: &Type) -> Result<Shape, Error> {
    let Some(inner) = option_of(ty) else { return Ok(Shape::Plain) };
    let Type::Path(path) = inner else {
        return Err(Error::new(inner.span(), "this type cannot be nullable"));
    };
    let name = path.path.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default();
    match name.as_str() {
        "Cow" | "Vec" => Ok(Shape::NullableLength),
        "i8" | "i16" | "i32" | "i64" | "u16" | "u32" | "f64" | "bool" | "Uuid" | "ErrorCode" | "Option" => {
            Err(Error::new(
                inner.span(),
                format!("Kafka has no nullable {name}: use a default that stands for none"),
            ))
        }
        _ => Ok(Shape::NullableStruct),
    }
}

/// The `T` of an `Option<T>`.
fn option_of(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ty else { return None };
    let segment = path.path.segments.last().filter(|segment| segment.ident == "Option")?;
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else { return None };
    match arguments.args.first() {
        Some(GenericArgument::Type(inner)) => Some(inner),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(input: DeriveInput) -> String {
        match parse(&input) {
            Ok(_) => String::from("accepted"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn wrong_types_are_named() {
        assert_eq!(
            error(syn::parse_quote!(
                enum E {}
            )),
            "only structs can be Kafka messages"
        );
        assert_eq!(
            error(syn::parse_quote!(
                struct S(i32);
            )),
            "a Kafka message needs named fields"
        );
        assert_eq!(
            error(syn::parse_quote!(
                struct S<T> {
                    a: T,
                }
            )),
            "a Kafka message has at most one lifetime and no type parameter"
        );
        assert!(
            error(syn::parse_quote!(
                struct S {
                    a: Option<i32>,
                }
            ))
            .starts_with("Kafka has no nullable i32")
        );
    }

    #[test]
    fn wrong_ranges_are_named() {
        let field = |versions: &str| {
            error(syn::parse_quote!(
                struct S {
                    #[kafka(versions = #versions)]
                    a: i32,
                }
            ))
        };
        for good in ["0+", "3", "3-7"] {
            assert_eq!(field(good), "accepted");
        }
        for bad in ["", "+", "x", "-1", "3-", "1.0", "40000"] {
            assert_eq!(field(bad), format!("`{bad}` is no version range: write \"3-7\", \"3+\" or \"3\""));
        }
        assert_eq!(field("7-3"), "the range `7-3` ends before it begins");
    }

    #[test]
    fn a_message_needs_its_versions() {
        let message = |attributes: proc_macro2::TokenStream| {
            error(syn::parse_quote!(
                #[kafka(#attributes)]
                struct S {}
            ))
        };
        assert_eq!(message(quote::quote!(versions = "0-3", flexible = "2+", request = "Fetch")), "accepted");
        assert!(message(quote::quote!(flexible = "2+")).starts_with("a message needs its versions"));
        assert!(
            message(quote::quote!(versions = "0+")).starts_with("a message's versions need an upper end")
        );
        assert!(
            message(quote::quote!(versions = "0-3", flexible = "2-3")).starts_with("once flexible, always")
        );
        assert!(message(quote::quote!(version = "0-3")).starts_with("unknown attribute of a message"));
        assert_eq!(message(quote::quote!(versions = "0-3", versions = "0-3")), "given twice");
    }

    #[test]
    fn contradictions_between_attributes_are_named() {
        let field = |attributes: proc_macro2::TokenStream| {
            error(syn::parse_quote!(
                struct S<'a> {
                    #[kafka(#attributes)]
                    a: Cow<'a, str>,
                }
            ))
        };
        assert_eq!(field(quote::quote!(nullable = "3+")), "only an `Option` can be nullable");
        assert_eq!(field(quote::quote!(default = "null")), "only the default of an `Option` can be null");
        assert_eq!(field(quote::quote!(tagged = "3+")), "a tagged field needs its number, as in `tag = 0`");
        assert_eq!(
            error(syn::parse_quote!(
                struct S {
                    #[kafka(nullable = "1+")]
                    a: Option<Inner>,
                }
            )),
            "a struct can only be nullable in all versions that have it"
        );
        assert!(field(quote::quote!(ignore)).starts_with("unknown attribute of a field"));
        assert_eq!(
            error(syn::parse_quote!(
                struct S {
                    #[kafka(tag = 1)]
                    a: i32,
                    #[kafka(tag = 1)]
                    b: i32,
                }
            )),
            "tagged fields stand in the ascending order of their numbers"
        );
    }
}
