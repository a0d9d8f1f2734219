cw_fuzz(blob_bodies SOURCES blob_bodies_fuzz.cc DEPENDS blob base)
cw_fuzz(blob_http SOURCES blob_http_fuzz.cc DEPENDS blob base)
