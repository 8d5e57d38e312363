"""DNS for everyone above: dnspython behind a cache, every outcome a value."""

from mta.resolver.answers import AddressAnswer, MxAnswer, Status
from mta.resolver.options import ResolverOptions
from mta.resolver.resolver import Resolver

__all__ = ["AddressAnswer", "MxAnswer", "Resolver", "ResolverOptions", "Status"]
