# The canary has a planted crash: a run that does not find it shows that the harness is broken.
cw_fuzz(canary SOURCES canary_fuzz.cc DEPENDS base)
cw_fuzz(text SOURCES text_fuzz.cc DEPENDS base fakes_disk LINK OpenSSL::Crypto)
cw_fuzz(tls_request SOURCES tls_request_fuzz.cc DEPENDS base LINK OpenSSL::Crypto)
