"""The interface is what its own OpenAPI says."""

import pytest
import schemathesis
from hypothesis import HealthCheck, settings

import fcnproto
from fcnproto.runtime.segmenter import Segmenter
from fcnproto.serving.app import create_app


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "shapes-fcn8s.onnx"
    net = "shapes-fcn8s"
    fcnproto.export(fcnproto.load_net(net), fcnproto.load_weights(net)).save(path)
    return schemathesis.openapi.from_asgi(
        "/openapi.json", create_app(Segmenter(path, device="cpu"))
    )


schema = schemathesis.pytest.from_fixture("api")


@pytest.mark.slow
@schema.parametrize()
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
def test_interface(case):
    # Any bytes are a body by the schema, and most of them are no image.
    excluded = [schemathesis.checks.positive_data_acceptance]
    case.call_and_validate(excluded_checks=excluded)
