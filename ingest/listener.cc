#include "ingest/listener.h"

#include "base/assert.h"
#include "base/log.h"

#include <algorithm>

namespace cw::ingest {
namespace {

constexpr std::int64_t us_per_s = 1'000'000;

// A server that showed another's certificate would be taken for that other, or for nobody.
Result<TlsContext> load_certificate(const ListenerOptions& options) {
    CW_TRY_ASSIGN(TlsContext tls, TlsContext::server(options.tls));
    CW_TRY_ASSIGN(const Identity identity, tls.identity());
    if (identity.role != options.role) {
        return fail(Errc::identity_refused,
                    options.tls.cert_file + " is that of " + to_string(identity));
    }
    return tls;
}

}  // namespace

Result<std::unique_ptr<Listener>> Listener::create(ListenerOptions options, Context context,
                                                   std::vector<ReactorPorts> ports,
                                                   Authorise authorise) {
    CW_ASSERT(options.reactors >= 1 && ports.size() == options.reactors);
    if (context.pool.count() < pipeline::slabs_per_record_max) {
        return fail(Errc::out_of_budget, "the slab pool cannot hold one frame of 8 MiB");
    }
    CW_TRY_ASSIGN(TlsContext tls, load_certificate(options));
    std::unique_ptr<Listener> listener(
        new Listener(std::move(options), context, std::move(tls), std::move(authorise)));
    CW_TRY(listener->open(std::move(ports)));
    return listener;
}

Listener::Listener(ListenerOptions options, Context context, TlsContext tls, Authorise authorise)
    : options_(std::move(options)),
      context_(context),
      authorise_(std::move(authorise)),
      tls_(std::move(tls)),
      table_(context.clock, context.random, context.conditions) {}

Listener::~Listener() {
    stop();
}

// Each reactor has a listening socket of its own on the same port; the kernel spreads connections.
Result<void> Listener::open(std::vector<ReactorPorts> ports) {
    HostPort address = options_.listen;
    const Reactor::Shared shared{.clock = context_.clock,
                                 .pool = context_.pool,
                                 .table = table_,
                                 .policies = policies_,
                                 .credit = context_.credit,
                                 .metrics = context_.metrics,
                                 .conditions = context_.conditions,
                                 .tls = tls_,
                                 .revoked = options_.tls.revoked.get(),
                                 .authorise = authorise_,
                                 .limits = options_.limits,
                                 .keeps_resync_orders = options_.keeps_resync_orders,
                                 .use_uring = options_.use_uring};
    for (std::size_t i = 0; i < ports.size(); ++i) {
        CW_TRY_ASSIGN(Fd socket, listen_tcp(address, options_.reactors > 1));
        CW_TRY_ASSIGN(port_, local_port(socket));
        address.port = port_;
        reactors_.push_back(std::make_unique<Reactor>(static_cast<std::uint32_t>(i), shared,
                                                      std::move(ports[i]), std::move(socket)));
    }
    return {};
}

void Listener::start() {
    for (const auto& reactor : reactors_) {
        reactor->start();
    }
    log_info("ingest.listening", {{"port", port_}, {"reactors", reactors_.size()}});
}

void Listener::begin_drain() {
    for (const auto& reactor : reactors_) {
        reactor->begin_drain();
    }
}

bool Listener::drained() const noexcept {
    return std::ranges::all_of(reactors_, [](const auto& reactor) { return reactor->drained(); });
}

void Listener::stop() {
    for (const auto& reactor : reactors_) {
        reactor->stop();
    }
}

Result<void> Listener::reload_tls() {
    CW_TRY_ASSIGN(TlsContext tls, load_certificate(options_));
    tls_.replace(std::move(tls));
    return {};
}

std::int64_t Listener::watch_certificate() {
    const std::int64_t left = tls_.current().expires_in_s(raw(context_.clock.wall()) / us_per_s);
    show_expiry(context_.conditions, "this server's certificate", left);
    return left;
}

std::size_t Listener::connection_count() const noexcept {
    std::size_t count = 0;
    for (const auto& reactor : reactors_) {
        count += reactor->connection_count();
    }
    return count;
}

}  // namespace cw::ingest
