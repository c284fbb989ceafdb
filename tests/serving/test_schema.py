"""The interface is what its own OpenAPI says."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

import fcnproto
from fcnproto.runtime.segmenter import Segmenter
from fcnproto.serving.app import create_app


@pytest.mark.slow
def test_interface(tmp_path):
    path, net = tmp_path / "model.onnx", "shapes-fcn8s"
    fcnproto.export(fcnproto.load_net(net), fcnproto.load_weights(net)).save(path)
    app = create_app(Segmenter(path, device="cpu"))
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    operations = [each.ok() for each in schema.get_all_operations()]
    assert len(operations) >= 4
    # Any bytes are a body by the schema, and most of them are no image.
    excluded = [schemathesis.checks.positive_data_acceptance]
    for operation in operations:

        @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
        @given(operation.as_strategy())
        def check(case):
            case.call_and_validate(excluded_checks=excluded)

        check()
