//! Generates the client and the server of the service that src/echo.rs implements. It is
//! declared here, and not in a .proto file, so that no compiler for those is needed.

use tonic_build::manual::{Builder, Method, MethodBuilder, Service};

fn method(name: &str, route: &str) -> MethodBuilder {
    Method::builder()
        .name(name)
        .route_name(route)
        .input_type("crate::echo::Text")
        .output_type("crate::echo::Text")
        .codec_path("tonic_prost::ProstCodec")
}

fn main() {
    let service = Service::builder()
        .name("Echo")
        .package("compare")
        .method(method("say", "Say").build())
        .method(method("large", "Large").build())
        .method(method("repeat", "Repeat").server_streaming().build())
        .build();
    Builder::new().compile(&[service]);
}
