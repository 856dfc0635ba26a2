import ssl, sys, urllib.error, urllib.request
proxy, url, ca = sys.argv[1:4]
handlers = [urllib.request.ProxyHandler({"http": proxy, "https": proxy}),
            urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca))]
try:
    print(urllib.request.build_opener(*handlers).open(url, timeout=10).read().decode())
except urllib.error.HTTPError as error:
    print(error.code, error.reason)
except OSError as error:
    print(error)
